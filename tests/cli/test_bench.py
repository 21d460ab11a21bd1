"""``lightning-onnx bench``, as it is typed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest

import lightning_onnx
from lightning_onnx import ONNXArtifact
from lightning_onnx.cli import main

pytestmark = pytest.mark.slow

Captured = pytest.CaptureFixture[str]


def test_bench(artifact: ONNXArtifact, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["bench", str(artifact.directory), "--seconds", "0.02", "--runtime", "onnxruntime"]
    assert main.main([*arguments, "--runtime", "reference", "--batch", "2"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"batch 2 +ratio +p50 ms +p95 ms +items per second\nonnxruntime +1 ", text)
    assert re.search(r"loading +load seconds", text)
    assert "<svg" in (tmp_path / "linear.latency.svg").read_text()
    assert main.main([*arguments, "--json", "--plot", "b.svg", "--runtime", "onnxruntime:MadeUp"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["batch_8"]) == ["onnxruntime"]
    assert "MadeUp" in found["absent"]["onnxruntime:MadeUp"]
    drawn = ElementTree.parse(tmp_path / "b.svg")
    texts = [element.text or "" for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"batch 1", "batch 8", "onnxruntime"} < set(texts)
    median = found["batch_8"]["onnxruntime"]["p50_ms"]
    assert any(text.startswith(f"{median:.4g} ms, ") for text in texts)


def test_bench_ends(artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there, quick = str(artifact.directory), ["--seconds", "0.02", "--batch", "1"]
    assert main.main(["bench", there, *quick, "--runtime", "onnxruntime:MadeUp"]) == 3
    assert main.main(["bench", there, *quick, "--require", "onnxruntime:MadeUp"]) == 1
    monkeypatch.setitem(lightning_onnx.runtimes.base.RUNTIMES, "crashing", "tests.runtimes.faulty:Crashing")
    assert main.main(["bench", there, *quick, "--runtime", "crashing"]) == 1
    assert main.main(["bench", there, *quick, "--plot", "x.png"]) == 2
    assert main.main(["bench", there, "--batch", "0"]) == 2


def test_bench_makes_inputs_if_sizes_are_known(
    artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(artifact.model_path, tmp_path / "alone.onnx")
    assert main.main(["bench", "alone.onnx", "--seconds", "0.02"]) == 0
    model = onnx.load(tmp_path / "alone.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    onnx.save(model, tmp_path / "open.onnx")
    capsys.readouterr()
    assert main.main(["bench", "open.onnx"]) == 2
    assert "whose sizes are unknown" in capsys.readouterr().err
