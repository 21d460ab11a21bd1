"""Every Lightning training run leaves behind an ONNX artifact: complete, described, and proven equal to its module."""

import importlib
from typing import TYPE_CHECKING, Any

from lightning_onnx.opsets import Opsets, opsets  # a function of its module's name must come after the module

if TYPE_CHECKING:
    from lightning_onnx.artifact import ONNXArtifact
    from lightning_onnx.callback import ONNXExport
    from lightning_onnx.checks import (
        Check,
        CheckContext,
        CheckResult,
        Latency,
        MetricParity,
        Parity,
        RuntimeParity,
        evaluate,
    )
    from lightning_onnx.errors import (
        ArtifactError,
        ConfigurationError,
        EngineError,
        ONNXExportError,
        ParityError,
        RuntimeUnavailable,
        SampleError,
        WeightsError,
    )
    from lightning_onnx.pipeline import export
    from lightning_onnx.report import Report
    from lightning_onnx.signature import Signature, TensorSpec
    from lightning_onnx.variants import Float16, Int8, Making, Simplified, Variant

__all__ = [
    "ArtifactError",
    "Check",
    "CheckContext",
    "CheckResult",
    "ConfigurationError",
    "EngineError",
    "Float16",
    "Int8",
    "Latency",
    "Making",
    "MetricParity",
    "ONNXArtifact",
    "ONNXExport",
    "ONNXExportError",
    "Opsets",
    "Parity",
    "ParityError",
    "Report",
    "RuntimeParity",
    "RuntimeUnavailable",
    "SampleError",
    "Signature",
    "Simplified",
    "TensorSpec",
    "Variant",
    "WeightsError",
    "evaluate",
    "export",
    "opsets",
]

_HOME = {
    "artifact": ["ONNXArtifact"],
    "callback": ["ONNXExport"],
    "checks": [
        "Check",
        "CheckContext",
        "CheckResult",
        "Latency",
        "MetricParity",
        "Parity",
        "RuntimeParity",
        "evaluate",
    ],
    "errors": ["RuntimeUnavailable", *(name for name in __all__ if name.endswith("Error"))],
    "pipeline": ["export"],
    "report": ["Report"],
    "signature": ["Signature", "TensorSpec"],
    "variants": ["Float16", "Int8", "Making", "Simplified", "Variant"],
}


def __getattr__(name: str) -> Any:
    """Import on first use: the processes that run a file in a runtime need neither torch nor Lightning."""
    for module, names in _HOME.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
