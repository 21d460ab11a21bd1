"""Ties are decided the other way, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from lightning_onnx.module.rounding import TiesReversed


@pytest.mark.parametrize("dim", [0, -1])
@pytest.mark.parametrize("named", [True, False])
def test_sort_and_topk_take_the_last_of_equal_values(dim: int, named: bool) -> None:
    x = torch.tensor([1.0, 0.0, 1.0])
    with TiesReversed():  # type: ignore[no-untyped-call]
        values, indices = torch.topk(x, 1, dim=dim) if named else torch.topk(x, 1, dim)
        ordered = torch.sort(x, dim=dim)
    assert (values.tolist(), indices.tolist()) == ([1.0], [2])
    assert (ordered.values.tolist(), ordered.indices.tolist()) == ([0.0, 1.0, 1.0], [1, 2, 0])


def test_a_stable_sort_has_no_ties() -> None:
    with TiesReversed():  # type: ignore[no-untyped-call]
        assert torch.sort(torch.tensor([1.0, 1.0]), stable=True).indices.tolist() == [0, 1]


def test_a_single_number() -> None:
    with TiesReversed():  # type: ignore[no-untyped-call]
        assert torch.sort(torch.tensor(3.0)).values == 3
