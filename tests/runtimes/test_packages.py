"""Two packages of onnxruntime in one environment are found and said, with the commands that cure it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_onnx import RuntimeUnavailable
from lightning_onnx.cli.main import main
from lightning_onnx.runtimes.onnxruntime import ONNXRuntime
from lightning_onnx.runtimes.packages import clash

CURE = "pip uninstall -y onnxruntime onnxruntime-gpu; then: pip install onnxruntime-gpu"


@pytest.fixture
def gpu_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "onnxruntime_gpu-1.23.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.23.2\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_one_package_is_right() -> None:
    assert clash() is None


def test_two_packages(gpu_package: None) -> None:
    assert clash() == (
        f"onnxruntime and onnxruntime-gpu are both installed, and have overwritten each other's files. Run: {CURE}"
    )


def test_a_provider_that_was_overwritten(gpu_package: None, tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="then: pip install onnxruntime-gpu"):
        ONNXRuntime(provider="CUDAExecutionProvider").load(tmp_path / "model.onnx")


def test_the_command_line_says_it(gpu_package: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(tmp_path / "none")])
    assert CURE in capsys.readouterr().err
