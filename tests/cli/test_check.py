"""``lightning-onnx check``, as it is typed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lightning_onnx import ONNXArtifact
from lightning_onnx.cli import main

pytestmark = pytest.mark.slow

Captured = pytest.CaptureFixture[str]


def test_check(artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["check", str(artifact.directory), "--runtime", "onnxruntime", "--runtime", "reference"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"passed   onnxruntime [\d.]+: 1 data set, differences up to .* of the scale", lines[0])
    assert lines[1].startswith("passed   reference ")
    assert main.main(["check", str(artifact.model_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["data_sets"], found["runtimes"]["onnxruntime"]["status"]) == (["test_data_set_0"], "passed")


def test_check_fails_on_other_outputs(artifact: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    data = tmp_path / "mine"
    shutil.copytree(artifact.directory / "test_data_set_0", data)
    output = data / "output_0.pb"
    values = numpy_helper.to_array(onnx.TensorProto.FromString(output.read_bytes()))
    output.write_bytes(numpy_helper.from_array(values + np.float32(0.1)).SerializeToString())
    arguments = ["check", str(artifact.directory), "--data", str(data)]
    assert main.main(arguments) == 1
    assert "100.00% of the elements are outside the tolerance" in capsys.readouterr().out
    assert main.main([*arguments, "--atol", "1"]) == 0
    assert main.main([*arguments, "--runtime", "onnxruntime:MadeUp", "--runtime", "onnxruntime"]) == 1


def test_check_without_data_or_runtime_is_skipped(artifact: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    alone = tmp_path / "alone" / "model.onnx"
    alone.parent.mkdir()
    shutil.copy(artifact.model_path, alone)
    assert main.main(["check", str(alone)]) == 3
    assert "skipped  onnxruntime: there is no test data" in capsys.readouterr().out
    assert main.main(["check", str(alone.parent)]) == 2
    said = capsys.readouterr().err
    assert "manifest.json is missing. Digests cannot be verified without it. " in said
    assert f"To use the model as it is, give {alone}." in said
    there = str(artifact.directory)
    assert main.main(["check", there, "--runtime", "onnxruntime:MadeUp"]) == 3
    assert main.main(["check", there, "--require", "onnxruntime:MadeUp"]) == 1
    assert "it is required: the installed onnxruntime has no MadeUp" in capsys.readouterr().out


def test_check_finds_a_changed_manifest(artifact: ONNXArtifact, capsys: Captured) -> None:
    manifest = artifact.directory / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"name": "output"', '"name": "scores"'))
    for command in ("check", "inspect"):
        assert main.main([command, str(artifact.directory)]) == 1
        assert "the outputs are scores in the manifest, output in the file" in capsys.readouterr().err


def test_check_judges_variants_by_their_own_limits(capsys: Captured) -> None:
    there = Path(__file__).parents[1] / "golden" / "0.1.0" / "artifact"
    assert main.main(["check", str(there / "model.int8.onnx")]) == 0
    assert capsys.readouterr().out.rstrip().endswith("of the scale; 0.5 is allowed for this variant")
    assert main.main(["check", str(there / "model.int8.onnx"), "--rtol", "0", "--atol", "1e-9"]) == 1
    assert "is allowed" not in capsys.readouterr().out
    assert main.main(["check", str(there)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["passed", "fp16:", "int8:", "simplified:"]
    assert main.main(["check", str(there), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {name: own["runtimes"]["onnxruntime"] for name, own in found["variants"].items()}
    assert {name: row.get("allowed") for name, row in rows.items()} == {"fp16": 0.01, "int8": 0.5, "simplified": None}
    assert all(row["status"] == "passed" for row in rows.values())


def test_check_usage(artifact: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    there = str(artifact.directory)
    for wrong in (
        [there, "--runtime", "tvm"],
        [there, "--data", str(tmp_path / "none")],
        [there, "--rtol", "-1"],
        [str(tmp_path / "none")],
    ):
        assert main.main(["check", *wrong]) == 2, wrong
    (tmp_path / "text.onnx").write_text("no model at all")
    assert main.main(["check", str(tmp_path / "text.onnx")]) == 2
    assert capsys.readouterr().err.count("not an ONNX model") == 1
