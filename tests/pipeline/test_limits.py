"""Limits of sizes are found by trying, reported, and removed if graphs of several sizes can be joined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

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
    """Centers a batch in chunks of five."""

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "rows", "options", "limit"),
    [
        (Chunks(), 4, {}, 5),
        pytest.param(Chunks(), 4, {"dynamic_axes": {"x": {0: "batch"}}, "engine": "dynamo"}, 5, marks=pytest.mark.slow),
        # traced at a size with more slices
        pytest.param(Slices(), 12, {"engine": "torchscript", "opset_version": 17}, 15, marks=pytest.mark.slow),
    ],
    ids=["auto", "asked", "torchscript"],
)
def test_a_limit_is_found_and_reported(
    module: nn.Module, rows: int, options: dict[str, Any], limit: int, tmp_path: Path
) -> None:
    artifact = made(module, torch.randn(rows, 4), tmp_path, **options)
    assert artifact.manifest["ranges"] == {"batch": {"min": 1, "max": limit}}
    assert artifact.passed
    assert any(f"batch must be {limit} or less" in note for note in artifact.manifest["notes"])
    assert f"batch: 1 to {limit}" in artifact.report.text()
    assert [is_right(artifact, module, n, 4) for n in (1, 4, limit, limit + 1)] == [True, True, True, False]


class Positions(Chunks):
    """Has a table of 20 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(20, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + self.table[: x.shape[1]])


@pytest.mark.slow
def test_a_limit_of_the_module_itself_is_not_a_warning(tmp_path: Path) -> None:
    module = Positions()
    artifact = made(module, torch.randn(2, 6, 4), tmp_path, dynamic_axes={"x": {0: "batch", 1: "time"}})
    assert artifact.manifest["ranges"] == {"time": {"min": 1, "max": 20}}
    stored = {p.key: p.value for p in onnx.load(artifact.model_path).metadata_props}
    assert json.loads(stored["lightning_onnx.ranges"]) == artifact.manifest["ranges"]
    assert artifact.manifest["notes"] == []
    assert is_right(artifact, module, 3, 20, 4)


class Even(Chunks):
    """Takes the sum of an odd number of rows."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).sum(0) if x.shape[0] % 2 else self.layer(x)


@pytest.mark.slow
def test_holes_in_a_range_are_reported_as_a_relation(tmp_path: Path) -> None:
    module = Even()
    options = {"dynamic_axes": {"x": {0: "batch"}}, "engine": "dynamo"}
    with pytest.warns(UserWarning, match="batch must be a multiple of 2"):
        artifact = made(module, torch.randn(12, 4), tmp_path, **options)
    assert artifact.manifest["relations"] == ["batch is a multiple of 2"]
    assert artifact.passed
    assert all(is_right(artifact, module, n, 4) for n in (2, 4, 10, 18, 20))
    assert not is_right(artifact, module, 7, 4)


class EvenChunks(Chunks):
    """Pads to an even number, and centers in chunks."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] % 2:
            x = nn.functional.pad(x, (0, 0, 0, 1))
        return torch.cat([c - c.mean(0) for c in self.layer(x).split(20)])


class OtherAtSquares(Chunks):
    """Computes something else if the number of rows is a square."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y * 3 if x.shape[0] in (1, 4, 9, 16) else y


@pytest.mark.slow
@pytest.mark.parametrize(("module", "limit"), [(EvenChunks(), 20), (OtherAtSquares(), 8)])
def test_joined_graphs_may_have_a_limit(module: nn.Module, limit: int, tmp_path: Path) -> None:
    artifact = made(module, torch.randn(limit - 1, 4), tmp_path, engine="dynamo")
    assert artifact.manifest["ranges"] == {"batch": {"min": 1, "max": limit}}
    assert artifact.passed
    assert [n for n in range(1, limit + 2) if not is_right(artifact, module, n, 4)] == [limit + 1]


class Standardized(Chunks):
    """Standardizes the batch: with one row, everything is NaN."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return (y - y.mean(0)) / (y.std(0) + 1e-5)


@pytest.mark.slow
def test_a_size_at_which_module_and_file_return_nan_is_not_a_limit(tmp_path: Path) -> None:
    artifact = made(Standardized(), torch.randn(5, 4), tmp_path)
    assert "ranges" not in artifact.manifest
    assert artifact.manifest["notes"] == []
    assert artifact.passed


def test_a_module_without_limits_has_no_ranges(tmp_path: Path) -> None:
    assert "ranges" not in made(nn.Linear(4, 2), torch.randn(3, 4), tmp_path).manifest
