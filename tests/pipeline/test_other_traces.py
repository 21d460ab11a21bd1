"""Graphs that are right because they were traced on other inputs than the first ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from tests import outside


class OnFours(nn.Module):
    """Works on groups of four: pads the length to a multiple, and cuts the padding off again."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        missing = -length % 4
        if missing:
            x = nn.functional.pad(x, (0, missing))
        return self.net(x.unflatten(1, (-1, 4))).flatten(1)[:, :length]


@pytest.mark.slow
def test_a_size_that_needs_no_padding_is_traced_at_another_size(tmp_path: Path) -> None:
    module = OnFours()
    axes = {"x": {0: "batch", 1: "time"}}
    made = lightning_onnx.export(module, torch.randn(2, 8), directory=tmp_path / "made", dynamic_axes=axes)
    for length in (4, 8, 11, 13, 30):
        x = torch.randn(3, length)
        (got,) = outside.run(made.model_path, x=x)
        torch.testing.assert_close(torch.from_numpy(got), module(x).detach(), rtol=1e-4, atol=1e-5)


class Masked(nn.Module):
    """Hides nothing if the mask is all true."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if not mask.all():
            x = x.masked_fill(~mask, -1e9)
        return x.softmax(-1)


class Experts(nn.Module):
    """Gives each row to one expert, and skips experts without rows."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(6, 3) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        chosen, made = x[:, :3].argmax(1), torch.zeros(len(x), 3)
        for i, expert in enumerate(self.experts):
            (rows,) = torch.where(chosen == i)
            if rows.numel() == 0:
                continue
            made = made.index_add(0, rows, expert(x[rows]))
        return made


@pytest.mark.slow
def test_work_that_the_traced_call_did_not_need_is_in_the_graph(tmp_path: Path) -> None:
    x, mask = torch.randn(4, 5), torch.ones(4, 5, dtype=torch.bool)
    masked = lightning_onnx.export(Masked(), (x, mask), directory=tmp_path / "masked")
    mask[1:, 2:] = False
    (got,) = outside.run(masked.model_path, x=x, mask=mask)
    torch.testing.assert_close(torch.from_numpy(got), Masked()(x, mask))
    assert any("inputs that change it" in note for note in masked.manifest["notes"])

    module, rows = Experts(), torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    assert set(rows[:, :3].argmax(1).tolist()) == {0, 1, 2}
    assert set(rows[:2, :3].argmax(1).tolist()) != {0, 1, 2}
    experts = lightning_onnx.export(module, rows, directory=tmp_path / "experts")
    for x in (rows, rows[:1], rows[2:5]):
        (got,) = outside.run(experts.model_path, x=x)
        torch.testing.assert_close(torch.from_numpy(got), module(x).detach(), rtol=1e-4, atol=1e-5)
    assert any("inputs that change it" in note for note in experts.manifest["notes"])
