"""Where Lightning's loggers keep artifacts. ``base`` holds the protocol and the dispatch, every other file one tracker."""

from lightning_onnx.trackers.base import publish, register

__all__ = ["publish", "register"]
