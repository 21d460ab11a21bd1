"""``lightning-onnx inspect``, as it is typed."""

from __future__ import annotations

import json
import re

import onnx
import pytest

from lightning_onnx import ONNXArtifact
from lightning_onnx.cli import main

Captured = pytest.CaptureFixture[str]


def test_inspect(artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["inspect", str(artifact.directory)]) == 0
    text = capsys.readouterr().out
    signature = r"input +input +float32 +\[batch, 4\]"
    for part in (signature, r"20 \(IR version 10\)", "parity +passed", "Operators\n  Gemm 1"):
        assert re.search(part, text), part


def test_inspect_as_json(artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["inspect", "--json", str(artifact.directory)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape_ranges_from"] == "sample"
    assert found["inputs"] == [{"name": "input", "dtype": "float32", "shape": ["batch", 4]}]
    assert found["opset"] == {"ai.onnx": 20}
    assert found["ir_version"] == 10
    assert found["operators"] == {"Gemm": 1}
    assert [(c["name"], c["status"]) for c in found["checks"]] == [("parity", "passed")]


def test_inspect_a_file(artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["inspect", str(artifact.model_path)]) == 0
    text = capsys.readouterr().out
    assert "input: float32[batch, 4]" in text
    assert "operators   Gemm 1" in text
    assert main.main(["inspect", "--json", str(artifact.model_path)]) == 0
    assert json.loads(capsys.readouterr().out)["checks"] == []


def test_inspect_names_the_oldest_runtime_and_private_data(artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["inspect", str(artifact.directory)]) == 0
    text = capsys.readouterr().out
    assert "onnxruntime 1.18 and later" in text
    assert "Private data\n  none found" in text
    model = onnx.load(artifact.model_path)
    model.graph.node[0].doc_string = 'File "/home/someone/net.py", line 3'
    path = artifact.directory.parent / "private.onnx"
    onnx.save(model, path)
    assert main.main(["inspect", str(path)]) == 0
    assert "stack trace in node" in capsys.readouterr().out
    assert main.main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {p["kind"] for p in found["private"]} == {"stack trace", "absolute path"}
    assert found["oldest_onnxruntime"] == "1.18"
