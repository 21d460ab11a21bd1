"""Where Lightning's loggers keep artifacts. ``base`` holds protocol and dispatch; a tracker has a file of its own."""

from lightning_onnx.trackers.base import log_scalars, publish, register, targets

__all__ = ["log_scalars", "publish", "register", "targets"]
