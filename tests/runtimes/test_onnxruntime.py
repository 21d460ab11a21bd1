"""Execution providers by name; one that falls back to the CPU counts as absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from lightning_onnx import ONNXArtifact
from lightning_onnx.errors import RuntimeUnavailable
from lightning_onnx.runtimes.onnxruntime import ONNXRuntime
from lightning_onnx.runtimes.worker import client

TENSORRT = "TensorrtExecutionProvider"


def test_a_provider_by_name(exported: dict[str, ONNXArtifact]) -> None:
    session = client.hosted("onnxruntime:CPUExecutionProvider").load(exported["linear"].model_path)
    description = session.describe()
    assert description is not None
    assert description.provider == "CPUExecutionProvider"


@pytest.mark.slow
@pytest.mark.skipif(TENSORRT in onnxruntime.get_available_providers(), reason="the provider is here")
def test_a_provider_that_the_package_lacks(exported: dict[str, ONNXArtifact]) -> None:
    with pytest.raises(RuntimeUnavailable, match=rf"has no {TENSORRT}\. .* pip install onnxruntime-gpu"):
        client.hosted(f"onnxruntime:{TENSORRT}").load(exported["linear"].model_path)
    with pytest.raises(RuntimeUnavailable, match=r"has no MadeUp; it has .*CPUExecutionProvider"):
        client.hosted("onnxruntime:MadeUp").load(exported["linear"].model_path)


WITHOUT_A_DEVICE = """
import sys
from pathlib import Path
import onnxruntime
from lightning_onnx import RuntimeUnavailable
from lightning_onnx.runtimes.worker import client

for provider in ("TensorrtExecutionProvider", "CUDAExecutionProvider"):
    assert provider in onnxruntime.get_available_providers()
    try:
        client.hosted(f"onnxruntime:{provider}").load(Path(sys.argv[1]))
    except RuntimeUnavailable as error:
        print(error)
"""


@pytest.mark.slow
def test_a_provider_without_its_device(exported: dict[str, ONNXArtifact], tmp_path: Path) -> None:
    """onnxruntime-gpu replaces onnxruntime, so it is installed where only one process finds it."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*pip, "onnxruntime-gpu"], check=True, timeout=280)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", WITHOUT_A_DEVICE, str(exported["linear"].model_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["no CUDA device: onnxruntime took CPUExecutionProvider instead"] * 2, (
        done.stderr
    )


def test_falling_back_in_silence(exported: dict[str, ONNXArtifact], monkeypatch: pytest.MonkeyPatch) -> None:
    """What onnxruntime-gpu does on a machine without a GPU, simulated with the CPU package."""
    session = onnxruntime.InferenceSession

    def on_cpu(path: str, sess_options: Any, providers: Any) -> Any:
        assert providers == [(TENSORRT, {})]
        return session(path, sess_options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_cpu)
    with pytest.raises(RuntimeUnavailable, match="no CUDA device"):
        ONNXRuntime(provider=TENSORRT).load(exported["linear"].model_path)
