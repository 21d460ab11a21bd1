"""The batch dim is guessed by size and confirmed by running the module."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_onnx.module.calls.batch_dim import batch_axes, few_rows
from tests.module.calls.observing import Applies, observed, runner_of


def found(function: Any, *calls: tuple[torch.Tensor, ...], batch_sizes: tuple[int, ...] = ()) -> Any:
    module = Applies(function)
    observation = observed(module, *calls, batch_sizes=batch_sizes)
    return batch_axes(observation, runner_of(module, observation))


@pytest.mark.parametrize(
    ("function", "shapes", "axes"),
    [
        (lambda x: x * 2, [(4, 3)], (0,)),
        (lambda x: x.sum((0, 2)), [(5, 4, 3)], (1,)),  # time comes first
        (lambda x, y: x + y, [(4, 3), (4, 3)], (0, 0)),
        (lambda x, table: x @ table, [(4, 3), (3, 2)], (0, None)),
        (lambda x: x - x.mean(1, keepdim=True), [(4, 4)], (0,)),  # both dims have the size, and one of them mixes rows
        (lambda x: x - x.mean(0), [(4, 4)], (1,)),
    ],
)
def test_the_dim_of_the_loader_that_keeps_rows_apart(function: Any, shapes: Any, axes: Any) -> None:
    assert found(function, tuple(torch.randn(s) for s in shapes), batch_sizes=(4,)) == axes


def test_a_dim_at_which_the_module_refuses_other_sizes_is_not_the_batch() -> None:
    assert found(lambda x: x.reshape(4, 3) * 2, (torch.randn(4, 3),), batch_sizes=(4,)) == (None,)


def test_without_a_loader_the_first_dim_is_tried() -> None:
    assert found(lambda x: x * 2, (torch.randn(4, 3),)) == (0,)


def test_two_views_of_a_batch_have_twice_its_rows() -> None:
    assert found(lambda x: x * 2, (torch.randn(8, 3),), batch_sizes=(4,)) == (0,)


def test_few_rows_are_two_unless_other_inputs_point_at_them() -> None:
    module = Applies(lambda x, y: x.sum() + y.sum())
    plain = observed(module, (torch.randn(6, 3), torch.randn(6)), batch_sizes=(6,))
    assert [tuple(t.shape) for t in few_rows(plain)] == [(2, 3), (2,)]
    pointed = observed(module, (torch.randn(6, 3), torch.tensor([[0, 5, 2]])), batch_sizes=(6,))
    assert [tuple(t.shape) for t in few_rows(pointed)] == [(6, 3), (1, 3)]
