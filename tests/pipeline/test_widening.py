"""Graphs from both sides of a limit are joined, which removes the limit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.pipeline.test_limits import Chunks, is_right, made


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


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dynamo", "torchscript"])
def test_graphs_below_and_above_a_limit_are_joined(engine: str, tmp_path: Path) -> None:
    module = SmallBatches()
    artifact = made(module, torch.randn(3, 4), tmp_path, engine=engine, opset_version=18)
    assert "ranges" not in artifact.manifest
    assert artifact.manifest["notes"] == []
    assert all(is_right(artifact, module, n, 4) for n in (1, 6, 7, 50))


@pytest.mark.slow
def test_sizes_below_the_traced_ones_are_tried(tmp_path: Path) -> None:
    module = Letterbox()
    artifact = made(module, torch.randn(2, 1, 14, 12), tmp_path, dynamic_axes={"x": {0: "batch", 2: "height"}})
    assert "ranges" not in artifact.manifest
    assert all(is_right(artifact, module, 2, 1, height, 12) for height in (14, 40, 12, 11, 5))


class CutAt40(Chunks):
    """Takes 40 rows at most: torch.export calls the batch constant if this is scripted."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] > 40:
            return self.layer(x[:40])
        return self.layer(x) / 2


@pytest.mark.slow
def test_a_limit_of_a_scripted_part_leaves_the_batch_dynamic(tmp_path: Path) -> None:
    module = nn.Sequential(torch.jit.script(CutAt40()))
    artifact = made(module, torch.randn(4, 4), tmp_path)
    assert "ranges" not in artifact.manifest
    assert all(is_right(artifact, module, n, 4) for n in (1, 7, 40, 41, 90))


class Windows(Chunks):
    """Takes windows of half the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).unfold(0, x.shape[0] // 2 + 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("module", "rows", "least", "most"), [(Windows(), 5, 4, 5), (Chunks(), 23, 21, 25)])
def test_a_range_holds_an_observed_batch_size(
    module: nn.Module, rows: int, least: int, most: int, tmp_path: Path
) -> None:
    artifact = made(module, torch.randn(rows, 4), tmp_path)
    assert artifact.manifest["ranges"] == {"batch": {"min": least, "max": most}}
    assert artifact.passed
    assert [n for n in range(least, most + 2) if not is_right(artifact, module, n, 4)] == [most + 1]


class Pairs(Chunks):
    """Takes windows of all rows but one, of two rows at least."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).unfold(0, torch.sym_max(x.shape[0] - 1, 2), 1)


@pytest.mark.slow
def test_a_batch_that_is_right_only_at_other_sizes_than_the_observed_one_is_static(tmp_path: Path) -> None:
    module = Pairs()
    with pytest.warns(UserWarning, match=r"batch.* is static: .* right at 1 to 3, and no observed"):
        artifact = made(module, torch.randn(7, 4), tmp_path)
    assert artifact.signature.inputs[0].shape == (7, 4)
    assert artifact.passed
    assert is_right(artifact, module, 7, 4)
