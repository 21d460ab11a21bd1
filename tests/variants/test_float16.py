"""What stays in float32, and reports on values that float16 cannot represent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import ConfigurationError, Float16, ONNXArtifact
from tests.variants.conftest import exported, module_of, run

pytestmark = pytest.mark.slow

FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def kinds(artifact: ONNXArtifact) -> dict[str, int]:
    model = onnx.load(artifact.variant_path("fp16"))
    return {t.name: t.data_type for t in model.graph.initializer if t.data_type in (FLOAT, FLOAT16)}


def test_weights_are_float16_except_those_kept(tmp_path: Path) -> None:
    x = torch.randn(2, 3, 12, 12)
    whole = exported(module_of("convolutions"), x, tmp_path / "a", variants=[Float16()])
    assert set(kinds(whole).values()) == {FLOAT16}
    kept = exported(module_of("convolutions"), x, tmp_path / "b", variants=[Float16(keep_float32=("Gemm",))])
    assert {name for name, kind in kinds(kept).items() if kind == FLOAT} == {"head.weight", "head.bias"}
    assert kept.manifest["variants"][0]["options"]["keep_float32"] == ["Gemm"]


class Masked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + torch.full_like(x[0], torch.finfo(torch.float32).min) * (x < 0)).softmax(-1)


def test_masks_are_cut_and_reported(tmp_path: Path) -> None:
    made = exported(Masked(), torch.randn(2, 5), tmp_path / "a", variants=[Float16()])
    entry = made.manifest["variants"][0]
    assert entry["status"] == "passed", entry["reason"]
    assert entry["notes"][0].startswith("values beyond ±10000 were clipped in ")


class Largest(nn.Module):
    """Ends in operators that stay in float32; another operator uses their outputs."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        values, places = x.exp().topk(2)
        return {"values": values, "places": places, "twice": values * 2, "half": (x > 0).float() / 2}


def test_outputs_of_operators_that_stay_in_float32(tmp_path: Path) -> None:
    x = torch.tensor([[1.0, 3.0, 2.0], [-1.0, 0.0, 5.0]])
    made = exported(Largest(), x, tmp_path / "a", variants=[Float16()])
    assert made.manifest["variants"][0]["status"] == "passed", made.manifest["variants"][0]["reason"]
    values, places, twice, half = run(made.variant_path("fp16"), {"x": x.numpy()})
    np.testing.assert_allclose(values, x.exp().topk(2).values.numpy(), rtol=1e-3)
    np.testing.assert_array_equal(places, [[1, 2], [2, 1]])
    np.testing.assert_allclose(twice, 2 * values, rtol=1e-3)
    np.testing.assert_array_equal(half, [[0.5, 0.5, 0.5], [0, 0, 0.5]])


class Whole(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class Features(nn.Module):
    """An output that a float16 operator uses too, and one that a branch of the graph uses."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.body(image).mean((2, 3))
        return {"logits": self.head(features), "features": features, "largest": features.amax(1)}


def test_outputs_that_other_operators_use(tmp_path: Path) -> None:
    image = torch.randn(2, 3, 6, 6)
    made = exported(Features(), image, tmp_path / "a", variants=[Float16()])
    assert made.manifest["variants"][0]["status"] == "passed", made.manifest["variants"][0]["reason"]
    assert kinds(made)["head.weight"] == FLOAT16
    expected = run(made.model_path, {"image": image.numpy()})
    for a, b in zip(run(made.variant_path("fp16"), {"image": image.numpy()}), expected, strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=5e-3)


def test_nothing_to_convert(tmp_path: Path) -> None:
    made = exported(Whole(), torch.arange(6).reshape(2, 3), tmp_path / "a", variants=[Float16()])
    entry = made.manifest["variants"][0]
    assert entry["status"] == "failed"
    assert "nothing in the model is float32" in entry["reason"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep_float32": "Gemm"}, "is one string"),
        ({"max_difference": -1}, "Give a number of 0 or more"),
        ({"name": ""}, "file name"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Float16(**options)
