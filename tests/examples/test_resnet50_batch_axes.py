from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests import outside

from .running import run

pytestmark = pytest.mark.nightly


def test_three_files_of_one_network(tmp_path: Path) -> None:
    output = run("resnet50_batch_axes.py", "--size", "32", "--batch", "8", "--root", tmp_path, cwd=tmp_path)
    models = {path.parent.name: path for path in tmp_path.rglob("model.onnx")}
    for name, batch in {"fixed_1": 1, "fixed_8": 8, "batch_axes": "batch_axes"}.items():
        assert outside.opset(models[name]) == 13
        assert outside.shapes(models[name]) == {"input": [batch, 3, 32, 32], "output": [batch, 1000]}
        assert models[name].stat().st_size > 25e6 * 4
    images = np.random.default_rng(0).random((8, 3, 32, 32), np.float32)
    (free,) = outside.run(models["batch_axes"], input=images)
    (fixed,) = outside.run(models["fixed_8"], input=images)
    singly = np.concatenate([outside.run(models["fixed_1"], input=image[None])[0] for image in images[:2]])
    scale = np.abs(free).max()
    np.testing.assert_allclose(free, fixed, atol=1e-5 * scale)
    np.testing.assert_allclose(free[:2], singly, atol=1e-5 * scale)
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        onnxruntime.InferenceSession(models["fixed_1"], providers=["CPUExecutionProvider"]).run(None, {"input": images})
    assert re.findall(r"batch (\d+) +fixed 1\.00 .*batch_axes \d+\.\d\d", output) == ["1", "8"]
