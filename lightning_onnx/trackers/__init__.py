"""Where Lightning's loggers keep artifacts: ``base`` has the protocol and the dispatch, every other file a tracker."""

from lightning_onnx.trackers.base import log_scalars, publish, register, targets

__all__ = ["log_scalars", "publish", "register", "targets"]
