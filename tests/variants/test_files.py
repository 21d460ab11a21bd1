"""How a variant is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from lightning_onnx.onnxfile import writer as template
from lightning_onnx.variants import files, float16, int8, simplified
from tests.variants.conftest import exported, module_of, run


@pytest.mark.slow
@pytest.mark.parametrize(
    "convert",
    [
        lambda *paths: float16.convert(*paths, []),
        lambda *paths: int8.dynamic(*paths, True, True),
        lambda *paths: simplified.convert(*paths),
    ],
    ids=["float16", "int8", "simplified"],
)
def test_large_weights_are_in_a_second_file(convert: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4)).eval()
    monkeypatch.setattr(template, "SINGLE_FILE_BYTES", 2000)
    made = exported(module, torch.randn(2, 64), tmp_path / "a")
    assert (made.directory / "model.onnx.data").exists()
    path = made.directory / "model.small.onnx"
    convert(str(made.model_path), str(path))
    assert (made.directory / "model.small.onnx.data").stat().st_size > 4000
    assert path.stat().st_size < 10_000
    assert files.problems(str(made.model_path), str(path)) == []
    x = np.random.default_rng(0).normal(size=(5, 64)).astype("float32")
    np.testing.assert_allclose(*(run(p, {"input": x})[0] for p in (made.model_path, path)), atol=0.1)


@pytest.mark.slow
def test_converters_leave_no_files_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = exported(module_of("convolutions"), torch.randn(2, 3, 12, 12), tmp_path / "a")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    int8.dynamic(str(made.model_path), str(tmp_path / "model.int8.onnx"), True, True)
    assert os.listdir(tmp_path / "empty") == []
    assert Path.cwd() == tmp_path / "empty"


def test_domains_that_nothing_uses_are_left_out(tmp_path: Path) -> None:
    made = exported(torch.nn.Linear(4, 2), torch.randn(2, 4), tmp_path / "a")
    model = onnx.load(made.model_path)
    model.opset_import.extend([onnx.helper.make_opsetid("com.example", 1)])
    files.save(model, made.model_path, tmp_path / "model.other.onnx")
    written = onnx.load(tmp_path / "model.other.onnx")
    assert [(o.domain, o.version) for o in written.opset_import] == [("", 20)]
    assert {e.key: e.value for e in written.metadata_props}["lightning_onnx.variant"] == "other"
