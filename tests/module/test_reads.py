"""Which inputs of a call are read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.flat import FlatModule


class Batch(nn.Module):
    """Takes a dict; ``use`` is what it does with an entry of it."""

    def __init__(self, use: Any) -> None:
        super().__init__()
        self.use = use
        self.scripted = torch.jit.trace(nn.Linear(4, 4), torch.zeros(2, 4))  # what runs in it is not Python

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.use(self, batch)


def untouched(use: Any) -> tuple[int, ...]:
    module = Batch(use).eval()
    batch = {"x": torch.randn(2, 4), "y": torch.zeros(2, dtype=torch.long), "more": [torch.ones(2, 4)]}
    sample = sample_of(module, "forward", ((batch,), {}))
    assert len(sample.tensors) == 3
    return FlatModule(module, "forward", sample).untouched(sample.tensors)


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (lambda module, batch: batch["x"] * 2, (1, 2)),
        (lambda module, batch: batch["x"] + batch["more"][0], (1,)),
        (lambda module, batch: torch.cat([batch["x"], *batch["more"]]), (1,)),
        (lambda module, batch: batch["x"] + batch["y"].shape[0], (2,)),
        (lambda module, batch: batch["x"] + len(batch["y"]), (2,)),
        (lambda module, batch: torch.zeros(batch["y"].size()) + batch["more"][0].dim(), (0,)),
        (lambda module, batch: batch["x"].to(batch["y"].dtype), (2,)),
        (lambda module, batch: batch["x"] if "y" in batch and batch["y"] is not None else None, (1, 2)),
        (lambda module, batch: module.scripted(batch["more"][0]), (0, 1)),
        (lambda module, batch: (batch["x"] * 2, batch["y"]), (2,)),  # returned as it is
        (lambda module, batch: torch.cond(batch["x"].sum() > 0, torch.neg, torch.abs, (batch["x"],)), (1, 2)),
        (lambda module, batch: batch["x"] * int(batch["y"].sum() == 0), (2,)),
    ],
)
def test_reads(use: Any, expected: tuple[int, ...]) -> None:
    assert untouched(use) == expected
