"""Every Lightning training run leaves behind an ONNX artifact: complete, described, and proven equal to its module."""

from lightning_onnx.artifact import ONNXArtifact
from lightning_onnx.callback import ONNXExport
from lightning_onnx.checks import Check, CheckContext, CheckResult, Parity
from lightning_onnx.errors import (
    ArtifactError,
    ConfigurationError,
    EngineError,
    ONNXExportError,
    ParityError,
    SampleError,
    WeightsError,
)
from lightning_onnx.opsets import Opsets, opsets
from lightning_onnx.pipeline import export
from lightning_onnx.report import Report
from lightning_onnx.signature import Signature, TensorSpec

__all__ = [
    "ArtifactError",
    "Check",
    "CheckContext",
    "CheckResult",
    "ConfigurationError",
    "EngineError",
    "ONNXArtifact",
    "ONNXExport",
    "ONNXExportError",
    "Opsets",
    "Parity",
    "ParityError",
    "Report",
    "SampleError",
    "Signature",
    "TensorSpec",
    "WeightsError",
    "export",
    "opsets",
]
