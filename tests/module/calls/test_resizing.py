"""Tensors at other sizes keep meaningful values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightning_onnx.module.calls.resizing import kept_whole, pointed_at, resize


def resized(tensor: Tensor, size: int) -> list[object]:
    return resize([tensor], ({0: "n"},), {"n": size})[0].tolist()


def test_values_are_repeated_or_cut() -> None:
    assert resized(torch.tensor([1.0, 3.0, 2.0]), 5) == [1, 3, 2, 1, 3]
    assert resized(torch.tensor([1.0, 3.0, 2.0]), 2) == [1, 3]
    assert resized(torch.tensor([]), 2) == []


def test_ascending_integers_stay_in_order() -> None:
    assert resized(torch.tensor([0, 0, 1]), 5) == [0, 0, 0, 0, 1]
    assert resized(torch.tensor([1, 0, 2]), 4) == [1, 0, 2, 1]


def test_other_dims_stay() -> None:
    a, b = resize([torch.zeros(2, 3), torch.zeros(3)], ({0: "n"}, {0: "m"}), {"m": 4})
    assert (a.shape, b.shape) == ((2, 3), (4,))


@pytest.mark.parametrize(
    ("numbers", "points"),
    [
        (torch.tensor([[0, 3]]), True),
        (torch.tensor([[0.0, 0.5], [3.0, 0.5]]), True),  # a column of floats, as in regions of images
        (torch.tensor([[0, 4]]), False),  # past the end
        (torch.tensor([[0, -1]]), False),
        (torch.tensor([[0, 1]]), False),  # a mask, perhaps
        (torch.tensor([[True, False]]), False),
        (torch.tensor([[0.0, 3.5]]), False),
    ],
)
def test_whole_numbers_below_a_size_may_be_indices(numbers: Tensor, points: bool) -> None:
    axes = ({0: "rows"}, {0: "others"})
    assert pointed_at([torch.zeros(4, 2), numbers], axes) == ({"rows"} if points else set())


def test_rows_in_groups_are_kept_whole() -> None:
    rows, groups = torch.zeros(5, 2), torch.tensor([0, 0, 1, 1, 2])
    assert kept_whole([rows, groups], ({0: "rows"}, {0: "rows"})) == {"rows"}
    assert kept_whole([rows, torch.arange(5)], ({0: "rows"}, {0: "rows"})) == set()


def test_entries_are_repeated_in_turns_or_in_random_order() -> None:
    x = torch.arange(8.0).reshape(4, 2)
    (turns,) = resize((x,), ({0: "batch"},), {"batch": 12})
    (mixed,) = resize((x,), ({0: "batch"},), {"batch": 12}, in_turns=False)
    assert torch.equal(turns, x.repeat(3, 1))
    assert torch.equal(mixed[:4], x)
    assert not torch.equal(mixed, turns)
    assert torch.equal(resize((x,), ({0: "batch"},), {"batch": 12}, in_turns=False)[0], mixed)
