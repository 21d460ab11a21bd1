"""Things that can fail. ``base`` holds the protocol, every other file one check."""

from lightning_onnx.checks.base import Check, CheckContext, CheckResult
from lightning_onnx.checks.latency import Latency
from lightning_onnx.checks.metrics import MetricParity, evaluate
from lightning_onnx.checks.parity import Parity
from lightning_onnx.checks.runtimes import RuntimeParity

__all__ = ["Check", "CheckContext", "CheckResult", "Latency", "MetricParity", "Parity", "RuntimeParity", "evaluate"]
