"""Execution providers by name; one that falls back to the CPU is not there."""

from __future__ import annotations

from typing import Any

import onnxruntime
import pytest

from lightning_onnx import ONNXArtifact
from lightning_onnx.errors import RuntimeUnavailable
from lightning_onnx.runtimes import base
from lightning_onnx.runtimes.onnxruntime import ONNXRuntime

TENSORRT = "TensorrtExecutionProvider"


def test_a_provider_by_name(exported: dict[str, ONNXArtifact]) -> None:
    session = base.get("onnxruntime:CPUExecutionProvider").load(exported["linear"].model_path)
    description = session.describe()
    assert description is not None
    assert description.provider == "CPUExecutionProvider"


@pytest.mark.skipif(TENSORRT in onnxruntime.get_available_providers(), reason="the provider is here")
def test_a_provider_that_the_package_lacks(exported: dict[str, ONNXArtifact]) -> None:
    with pytest.raises(RuntimeUnavailable, match=rf"has no {TENSORRT}\. .* pip install onnxruntime-gpu"):
        base.get(f"onnxruntime:{TENSORRT}").load(exported["linear"].model_path)
    with pytest.raises(RuntimeUnavailable, match=r"has no MadeUp; it has .*CPUExecutionProvider"):
        base.get("onnxruntime:MadeUp").load(exported["linear"].model_path)


@pytest.mark.skipif(TENSORRT not in onnxruntime.get_available_providers(), reason="needs onnxruntime-gpu")
def test_a_provider_without_its_device(exported: dict[str, ONNXArtifact]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a device")
    for provider in (TENSORRT, "CUDAExecutionProvider"):
        with pytest.raises(RuntimeUnavailable, match="no CUDA device: onnxruntime took CPUExecutionProvider instead"):
            base.get(f"onnxruntime:{provider}").load(exported["linear"].model_path)


def test_falling_back_in_silence(exported: dict[str, ONNXArtifact], monkeypatch: pytest.MonkeyPatch) -> None:
    """What onnxruntime-gpu does on a machine without a GPU, played by the package for the CPU."""
    session = onnxruntime.InferenceSession

    def on_cpu(path: str, sess_options: Any, providers: Any) -> Any:
        assert providers == [(TENSORRT, {})]
        return session(path, sess_options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_cpu)
    with pytest.raises(RuntimeUnavailable, match="no CUDA device"):
        ONNXRuntime(provider=TENSORRT).load(exported["linear"].model_path)
