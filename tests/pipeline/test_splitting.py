"""Sizes at which a method decides otherwise get a graph of their own; what cannot be joined is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.pipeline.test_limits import Chunks, is_right, made

AXES = {"x": {0: "batch", 1: "length"}}


class Odd(Chunks):
    """Pads to an even length, and takes the mean of pairs."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        if x.shape[1] % 2:
            y = functional.pad(y, (0, 0, 0, 1))
        return y.unflatten(1, (-1, 2)).mean(2)


class TwoSizes(Chunks):
    """Does something else at two lengths."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (2.0 if x.shape[1] in (5, 11) else 1.0)


class Square(Chunks):
    """Does something else where the length equals the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (2.0 if x.shape[1] == x.shape[0] else 1.0)


class Upright(Chunks):
    """Turns what is longer than the batch."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return (y.flip(1) if x.shape[1] >= x.shape[0] else y).cumsum(1)


class Single(Chunks):
    """Takes a sequence of one step in another way."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y * 3 if x.shape[1] == 1 else y


SIZES = [(b, n) for b in (1, 2, 3, 7) for n in (1, 2, 3, 5, 6, 7, 8, 11, 12, 40)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [Odd(), *(pytest.param(m, marks=pytest.mark.slow) for m in (Square(), TwoSizes(), Upright(), Single()))],
    ids=lambda m: type(m).__name__,
)
def test_sizes_that_a_condition_tells_are_joined(module: nn.Module, tmp_path: Path) -> None:
    artifact = made(module, torch.randn(4, 8, 4), tmp_path, dynamic_axes=AXES)
    assert artifact.passed
    assert artifact.manifest["notes"] == []
    assert "ranges" not in artifact.manifest
    assert not artifact.manifest.get("relations")
    assert [sizes for sizes in SIZES if not is_right(artifact, module, *sizes, 4)] == []


class Squeezes(Chunks):
    """Gives a batch of one another rank."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y.squeeze(0) if x.shape[0] == 1 else y


@pytest.mark.slow
def test_other_ranks_are_not_joined(tmp_path: Path) -> None:
    artifact = made(Squeezes(), torch.randn(4, 4), tmp_path)
    assert artifact.manifest["ranges"] == {"batch": {"min": 2}}


class Halves(Chunks):
    """Halves a sequence until it is short."""

    def forward(self, x: Tensor) -> Tensor:
        while x.shape[1] > 16:
            x = x[:, ::2]
        return self.layer(x).mean(1)


@pytest.mark.slow
def test_a_range_holds_the_observed_sizes(tmp_path: Path) -> None:
    module = Halves()
    artifact = made(module, torch.randn(4, 20, 4), tmp_path, dynamic_axes=AXES)
    assert artifact.manifest["ranges"] == {"length": {"min": 1, "max": 64}}
    assert [n for n in (1, 16, 17, 20, 33, 64, 65) if not is_right(artifact, module, 3, n, 4)] == [65]
