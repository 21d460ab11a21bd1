"""Integers of a table are drawn within the range of their column."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.module.calls.request import derive
from lightning_onnx.module.values.cases import value_cases
from lightning_onnx.module.values.columns import at_ends, drawn_columns, has_columns
from lightning_onnx.module.values.drawn import TRIES, drawn_like
from tests.module.calls.observing import observed, runner_of

SIZES = (4, 7, 12, 30, 3)


def codes(rows: int) -> Tensor:
    return torch.stack([(torch.arange(rows) * 11 + 5) % size for size in SIZES], 1)


class Embeds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 2) for size in SIZES)

    def forward(self, x_cat: Tensor) -> Tensor:
        return torch.cat([table(x_cat[:, i]) for i, table in enumerate(self.tables)], 1)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8, torch.uint8])
@pytest.mark.parametrize("rows", [2, 64])
@pytest.mark.parametrize("seed", range(TRIES))
def test_each_column_keeps_its_range(dtype: torch.dtype, rows: int, seed: int) -> None:
    observations = codes(rows).to(dtype)
    (drawn,) = drawn_like([observations], seed)
    assert drawn.dtype == dtype
    assert bool((drawn <= observations.amax(0)).all())
    assert bool((drawn >= observations.min()).all())
    assert rows < 8 or not torch.equal(drawn, observations)


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.zeros(3, 5, dtype=torch.int64), True),
        (torch.zeros(2, 3, 5, dtype=torch.int32), True),
        (torch.zeros(3, 65, dtype=torch.int64), False),  # tokens
        (torch.zeros(3, dtype=torch.int64), False),
        (torch.zeros(3, 5), False),
        (torch.zeros(3, 5, dtype=torch.bool), False),
        (torch.zeros(0, 5, dtype=torch.int64), False),
    ],
)
def test_what_has_columns(tensor: Tensor, expected: bool) -> None:
    assert has_columns(tensor) == expected


def test_a_number_that_may_be_private_is_not_drawn() -> None:
    table = torch.stack([torch.full((9,), 123456), torch.arange(9)], 1)
    generator = torch.Generator().manual_seed(0)
    for is_last in (False, True):
        drawn = drawn_columns(table, generator, may_repeat=False, is_last=is_last)
        assert not bool((drawn[:, 0] == 123456).any())
        assert bool((drawn[:, 1] < 9).all())


def test_a_row_of_few_is_not_repeated() -> None:
    row = torch.tensor([[52, 17, 31, 8, 60, 44, 23, 39]])
    assert not any(torch.equal(drawn_like([row], seed)[0], row) for seed in range(TRIES))


def test_ends_of_each_column() -> None:
    ends = [at_ends(codes(2), [codes(64), codes(64)[:, :3]], largest=largest) for largest in (False, True)]
    assert [end.tolist() for end in ends] == [[[0] * 5] * 2, [[size - 1 for size in SIZES]] * 2]


def test_a_table_has_the_cases_that_draw_integers() -> None:
    module = Embeds()
    observation = observed(module, (codes(64),))
    run = runner_of(module, observation)
    labels = {case.label for case in value_cases(derive(observation, run), run)}
    assert {"values drawn like the observed ones", "integers at their largest", "integers at their smallest"} <= labels
