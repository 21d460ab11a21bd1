"""``lightning-onnx snippet``: the Python runs without torch, and its answer is the module's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lightning_onnx import ONNXArtifact
from lightning_onnx.artifacts.data_set import read_data_set
from lightning_onnx.cli import main
from lightning_onnx.onnxfile.specs import ModelSpecs


def test_python_runs_without_torch(artifact: ONNXArtifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["snippet", str(artifact.directory)]) == 0
    code = capsys.readouterr().out
    assert "np.zeros((2, 4), np.float32)" in code
    data = read_data_set(artifact.directory / "test_data_set_0", ModelSpecs.read(artifact.model_path))
    np.save(artifact.directory / "rows.npy", data.inputs["input"])
    code = code.replace("np.zeros((2, 4), np.float32)", "np.load('rows.npy')")
    code += "\nimport sys\nassert 'torch' not in sys.modules\nnp.save('answer.npy', outputs[0])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=artifact.directory, capture_output=True, text=True, check=False
    )
    assert done.stdout == "output float32 (2, 2)\n", done.stderr
    answer = np.load(artifact.directory / "answer.npy")
    np.testing.assert_allclose(answer, data.outputs["output"], rtol=1e-5)  # of the module


def test_a_file_has_no_snippet(artifact: ONNXArtifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["snippet", str(artifact.model_path)]) == 2
    assert "Give the directory of an artifact" in capsys.readouterr().err
