from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from tests import outside

from .running import run

pytestmark = pytest.mark.slow


def test_artifact_finds_bright_regions_at_any_size(tmp_path: Path) -> None:
    output = run("segmentation.py", "--root", tmp_path, cwd=tmp_path)
    module, artifact = (float(score) for score in re.findall(r"IoU (0\.\d+)", output))
    assert abs(module - artifact) < 1e-3
    assert artifact > 0.8

    (model,) = tmp_path.rglob("model.onnx")
    shapes = outside.shapes(model)
    batch, height, width = (shapes["images"][i] for i in (0, 2, 3))
    assert shapes["logits"] == [batch, 1, height, width]
    assert all(isinstance(dim, str) for dim in (batch, height, width))
    china = load_sample_image("china.jpg").astype(np.float32).transpose(2, 0, 1)[None] / 255
    for window in (np.s_[..., :427, :640], np.s_[..., :61, :203]):  # odd sizes too, and one image
        images = china[window]
        (logits,) = outside.run(model, images=images)
        assert logits.shape == (1, 1, *images.shape[2:])
        bright = images.mean(1, keepdims=True) > 0.4  # without the mean over neighbours: most pixels agree
        assert (bright == (logits > 0)).mean() > 0.85
