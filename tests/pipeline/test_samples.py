"""Answers side by side, and the images that belong to them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

import lightning_onnx
from lightning_onnx import ONNXArtifact


class Photo(nn.Module):
    """A mean of each image, and an integer for each."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image.mean((2, 3)), (image.amax((1, 2, 3)) > 0).long()


IMAGES = torch.linspace(-1, 1, 4 * 3 * 8 * 12).reshape(4, 3, 8, 12)


@pytest.fixture(scope="module", params=["observed", "synthetic"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    where = tmp_path_factory.mktemp("samples") / request.param
    return lightning_onnx.export(
        Photo(), IMAGES, directory=where, output_names=["mean", "flag"], test_data=request.param
    )


def stored(artifact: ONNXArtifact, name: str) -> np.ndarray[Any, Any]:
    path = artifact.directory / "test_data_set_0" / f"{name}.pb"
    return numpy_helper.to_array(onnx.load_tensor(path))


@pytest.mark.slow
def test_rows_are_those_of_the_test_data_and_of_the_file(artifact: ONNXArtifact) -> None:
    import onnxruntime

    found = artifact.manifest["samples"]["outputs"]
    answers = onnxruntime.InferenceSession(artifact.model_path).run(None, {"image": stored(artifact, "input_0")})
    assert list(found) == ["mean", "flag"]
    for place, (name, answer) in enumerate(zip(found, answers, strict=True)):
        own = np.array(found[name]["module"])
        assert np.allclose(own, stored(artifact, f"output_{place}").reshape(own.shape), rtol=1e-5)
        assert np.allclose(found[name]["file"], answer.reshape(own.shape), rtol=1e-5)
    text = artifact.report.html()
    assert "Answers side by side" in text
    assert f"{found['mean']['file'][1][1]:.4g}" in text


@pytest.mark.slow
def test_images_are_shown_if_real_values_were_asked_for(artifact: ONNXArtifact) -> None:
    images = artifact.manifest["samples"]["images"]
    if "synthetic" in str(artifact.directory):
        assert images == []
        assert "<img" not in artifact.report.html()
        return
    assert len(images) == artifact.report.html().count("<img") == 2
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(images[1]))))
    own = IMAGES[1].permute(1, 2, 0).numpy()
    assert np.array_equal(pixels, np.round((own - own.min()) / (own.max() - own.min()) * 255).astype(np.uint8))


def test_no_test_data_no_samples(tmp_path: Path) -> None:
    made = lightning_onnx.export(nn.Linear(3, 2), torch.zeros(2, 3), directory=tmp_path / "a", test_data=None)
    assert made.manifest["samples"] == {"outputs": {}, "images": []}
    assert "side by side" not in made.report.html()
