"""ncnn: models that pnnx does not convert fully are refused, and batches are distinguished from loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from lightning_onnx import ONNXArtifact, export
from lightning_onnx.errors import WorkerError
from lightning_onnx.runtimes import base
from lightning_onnx.runtimes.worker import client
from tests.runtimes.conftest import feeds

pytestmark = pytest.mark.slow

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")


@pytest.mark.parametrize(("model", "batch"), [("linear", "loop"), ("convolutional", "yes"), ("two", "loop")])
def test_batch(model: str, batch: str, exported: dict[str, ONNXArtifact]) -> None:
    description = client.hosted("ncnn").load(exported[model].model_path).describe()
    assert description is not None
    assert description.batch == batch


def test_an_operator_that_pnnx_drops_is_named(exported: dict[str, ONNXArtifact]) -> None:
    with pytest.raises(WorkerError, match="pnnx drops Gather"):
        client.hosted("ncnn").load(exported["bag"].model_path)


def test_a_mean_that_pnnx_drops_shows_in_the_shape(exported: dict[str, ONNXArtifact]) -> None:
    artifact = exported["pooled"]
    try:
        found = client.hosted("ncnn").load(artifact.model_path).run(feeds(artifact, 3))
    except WorkerError:  # a later pnnx may say it
        return
    (shape,) = (value.shape for value in found.values())
    if shape == (3, 16):
        pytest.skip("this pnnx keeps the mean")
    assert shape == (3, 5, 16)


def test_dtypes_that_end_the_process_are_refused(tmp_path: Path) -> None:
    made = export(torch.nn.Linear(4, 2).double(), torch.zeros(3, 4, dtype=torch.float64), directory=tmp_path / "d")
    with pytest.raises(WorkerError, match="ncnn accepts only float32, int32, int64, but 'input' is float64"):
        client.hosted("ncnn").load(made.model_path)


def test_integers_of_more_than_32_bits_are_refused(tmp_path: Path) -> None:
    class Reshaped(torch.nn.Module):  # pnnx converts little else of integers
        def forward(self, x: torch.Tensor, n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x * 2, n.reshape(n.shape[0], 2, 2)

    made = export(Reshaped(), (torch.zeros(2, 4), torch.ones(2, 4, dtype=torch.int64)), directory=tmp_path / "d")
    session = client.hosted("ncnn").load(made.model_path)
    with pytest.raises(WorkerError, match="ncnn has 32-bit integers, but the input has values up to 1099511627776"):
        session.run({"x": np.zeros((2, 4), "float32"), "n": np.full((2, 4), 2**40)})


def test_float16_is_requested(exported: dict[str, ONNXArtifact]) -> None:
    artifact = exported["convolutional"]
    inputs = feeds(artifact, 2)
    want = client.hosted(base.DEFAULT).load(artifact.model_path).run(inputs)["output"]
    own = client.hosted("ncnn", precision="deploy").load(artifact.model_path).run(inputs)["output"]
    assert 1e-5 < np.abs(own - want).max() < 1e-1


def test_weights_in_another_file_are_read(exported: dict[str, ONNXArtifact], tmp_path: Path) -> None:
    artifact = exported["convolutional"]
    beside = tmp_path / "model.onnx"
    model = onnx.load(artifact.model_path)
    onnx.save(model, beside, save_as_external_data=True, location="weights.data", size_threshold=0)
    inputs = feeds(artifact, 2)
    want = client.hosted(base.DEFAULT).load(artifact.model_path).run(inputs)["output"]
    np.testing.assert_allclose(client.hosted("ncnn").load(beside).run(inputs)["output"], want, atol=1e-4)
