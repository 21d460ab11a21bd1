"""Every Lightning training run leaves behind an ONNX artifact: complete, described, and proven equal to its module."""

import importlib
from typing import Any

_NAMES_BY_FILE = {
    "artifacts.artifact": ["ONNXArtifact"],
    "checks.base": ["Check", "CheckContext", "CheckResult"],
    "checks.latency": ["Latency"],
    "checks.metrics": ["MetricParity", "evaluate"],
    "checks.parity": ["Parity"],
    "checks.runtimes": ["RuntimeParity"],
    "deploy.hub": ["Hub"],
    "errors": [
        "ArtifactError",
        "ConfigurationError",
        "EngineError",
        "ONNXExportError",
        "ParityError",
        "RuntimeUnavailable",
        "SampleError",
        "WeightsError",
    ],
    "module.calls.signature": ["Signature", "TensorSpec"],
    "onnxfile.installed": ["Opsets", "opsets"],
    "pipeline.export": ["export"],
    "report.report": ["Report"],
    "trackers.trackio": ["TrackioLogger"],
    "training.callback": ["ONNXExport"],
    "training.lightning_cli": ["ONNXCLI", "ExportCommand"],
    "variants.base": ["Making", "Variant"],
    "variants.float16": ["Float16"],
    "variants.int4": ["Int4"],
    "variants.int8": ["Int8"],
    "variants.pt2": ["PT2"],
    "variants.simplified": ["Simplified"],
}
"""The public names, by the file that defines them; ``__init__.pyi`` tells type checkers the same."""

_FILE_OF = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}

__all__ = sorted(_FILE_OF)


def __getattr__(name: str) -> Any:
    """Import on first use: reading an artifact, or running a file in a worker, needs neither torch nor Lightning."""
    if name == "__version__":
        return importlib.import_module(f"{__name__}.artifacts.versions").versions()["lightning_onnx"]
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_FILE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})
