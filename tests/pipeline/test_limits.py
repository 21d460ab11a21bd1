"""Limits of sizes are found by trying, told, and removed where graphs of several sizes can be joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import lightning_onnx
from lightning_onnx import ONNXArtifact


def made(module: nn.Module, x: Tensor, directory: Path, **options: Any) -> ONNXArtifact:
    return lightning_onnx.export(module.eval(), x, directory=directory / "made", **options)


def is_right(artifact: ONNXArtifact, module: nn.Module, *shape: int) -> bool:
    x = torch.randn(shape)
    (got,) = onnxruntime.InferenceSession(artifact.model_path).run(None, {artifact.signature.inputs[0].name: x.numpy()})
    want = module(x).detach().numpy()
    return got.shape == want.shape and torch.allclose(torch.from_numpy(got), module(x), rtol=1e-3, atol=1e-4)


class Chunks(nn.Module):
    """Centres a batch in chunks of five."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([c - c.mean(0) for c in self.layer(x).split(5)])


class Slices(Chunks):
    """The same in another way."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        chunks = [y[start : start + 5] for start in range(0, int(x.shape[0]), 5)]
        return torch.cat([c - c.mean(0) for c in chunks])


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (Chunks(), {}),
        (Chunks(), {"dynamic_axes": {"x": {0: "batch"}}}),
        (Slices(), {"engine": "torchscript", "opset_version": 17}),
    ],
    ids=["auto", "asked", "torchscript"],
)
def test_a_limit_is_found_and_told(module: nn.Module, options: dict[str, Any], tmp_path: Path) -> None:
    artifact = made(module, torch.randn(12, 4), tmp_path, **options)
    assert artifact.manifest["ranges"] == {"batch": {"min": 1, "max": 5}}
    assert artifact.passed
    assert any("batch must be 5 or less" in note for note in artifact.manifest["notes"])
    assert "batch: 1 to 5" in artifact.report.text()
    assert [is_right(artifact, module, n, 4) for n in (1, 4, 5, 12)] == [True, True, True, False]


class SmallBatches(Chunks):
    """Computes a small batch in another way."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y * 2 if x.shape[0] <= 6 else y * 3


class Letterbox(nn.Module):
    """Pads images to squares: tall ones at the right, wide ones below."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(1, 2, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        x = functional.pad(x, (0, h - w), value=0.5) if h >= w else functional.pad(x, (0, 0, 0, w - h), value=0.5)
        return self.net(x).mean((2, 3))


@pytest.mark.parametrize("engine", ["dynamo", "torchscript"])
def test_graphs_below_and_above_a_limit_are_joined(engine: str, tmp_path: Path) -> None:
    module = SmallBatches()
    artifact = made(module, torch.randn(3, 4), tmp_path, engine=engine, opset_version=18)
    assert "ranges" not in artifact.manifest
    assert artifact.manifest["notes"] == []
    assert all(is_right(artifact, module, n, 4) for n in (1, 6, 7, 50))


def test_sizes_below_the_traced_ones_are_tried(tmp_path: Path) -> None:
    module = Letterbox()
    artifact = made(module, torch.randn(2, 1, 14, 12), tmp_path, dynamic_axes={"x": {0: "batch", 2: "height"}})
    assert "ranges" not in artifact.manifest
    assert all(is_right(artifact, module, 2, 1, height, 12) for height in (14, 40, 12, 11, 5))


class Positions(Chunks):
    """Has a table of 20 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(20, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + self.table[: x.shape[1]])


def test_a_limit_that_the_module_has_too_is_no_warning(tmp_path: Path) -> None:
    module = Positions()
    artifact = made(module, torch.randn(2, 6, 4), tmp_path, dynamic_axes={"x": {0: "batch", 1: "time"}})
    assert artifact.manifest["ranges"] == {"time": {"min": 1, "max": 20}}
    assert artifact.manifest["notes"] == []
    assert is_right(artifact, module, 3, 20, 4)


def test_what_has_no_limit_has_no_ranges(tmp_path: Path) -> None:
    assert "ranges" not in made(nn.Linear(4, 2), torch.randn(3, 4), tmp_path).manifest
