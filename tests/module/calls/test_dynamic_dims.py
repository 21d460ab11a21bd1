"""Dims are dynamic if they varied, or are the batch; dims of equal sizes share a name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.dynamic_dims import DynamicDims, derive_dims, requested_dims
from tests.module.calls.observing import Applies, observed, runner_of


def derived(function: Any, *calls: tuple[Tensor, ...], batch_sizes: tuple[int, ...] = ()) -> DynamicDims:
    module = Applies(function)
    observation = observed(module, *calls, batch_sizes=batch_sizes)
    names = [f"in_{i}" for i in range(len(calls[0]))]
    return derive_dims(observation, names, runner_of(module, observation))


def test_the_batch_and_dims_that_varied_are_dynamic() -> None:
    calls = [(torch.randn(4, length, 3),) for length in (5, 7, 6)]
    found = derived(lambda x: x * 2, *calls, batch_sizes=(4, 4, 4))
    assert found.axes == ({0: "batch", 1: "in_0_dim_1"},)
    assert found.seen == {"batch": (4,), "in_0_dim_1": (5, 6, 7)}


def test_dims_of_different_inputs_share_a_name_and_those_of_one_do_not() -> None:
    calls = [(torch.randn(4, n, n), torch.randn(4, n)) for n in (5, 7)]
    found = derived(lambda x, y: (x * 2, y * 2), *calls, batch_sizes=(4, 4))
    assert found.axes == ({0: "batch", 1: "in_0_dim_1", 2: "in_0_dim_2"}, {0: "batch", 1: "in_0_dim_1"})


def test_the_same_dim_of_another_input_comes_first() -> None:
    calls = [(torch.randn(2, n, n), torch.randn(2, 3, n)) for n in (5, 7)]
    found = derived(lambda x, y: (x * 2, y * 2), *calls, batch_sizes=(2, 2))
    assert found.axes[1][2] == "in_0_dim_2"


def test_dims_that_never_varied_are_static() -> None:
    assert derived(lambda x: x.reshape(4, 3) * 2, (torch.randn(4, 3),), batch_sizes=(4,)).axes == ({},)


def test_other_possible_batch_dims_are_dynamic() -> None:
    assert derived(lambda x: x * 2, (torch.randn(4, 4, 3),), batch_sizes=(4,)).axes == ({0: "batch", 1: "in_0_dim_1"},)
    ranked = derived(lambda x, y: x * y.cumsum(0)[-1], (torch.randn(4, 3), torch.randn(4, 1)), batch_sizes=(4,))
    assert ranked.axes == ({0: "batch"}, {0: "batch"})


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_two_rows_of_a_graphs_edges_are_static(batch_size: int) -> None:
    def sums(x: Tensor, edges: Tensor, graph: Tensor) -> tuple[Tensor, Tensor]:
        return x.index_add(0, edges[1], x[edges[0]]), graph

    calls = [(torch.randn(n, 6), torch.randint(0, n, (2, 3 * n)), torch.arange(n) * batch_size // n) for n in (24, 27)]
    found = derived(sums, *calls, batch_sizes=(batch_size, batch_size))
    assert found.axes == ({0: "in_0_dim_0"}, {1: "in_1_dim_1"}, {0: "in_0_dim_0"})
    assert found.seen == {"in_0_dim_0": (24, 27), "in_1_dim_1": (72, 81)}


def test_requested_by_name_by_index_and_from_the_end() -> None:
    observation = observed(Applies(lambda x, y: x), (torch.randn(4, 3), torch.randn(2, 5)))
    found = requested_dims({"a": {0: "rows", -1: "columns"}, "b": [1], "out": {0: "rows"}}, ["a", "b"], observation)
    assert found.axes == ({0: "rows", 1: "columns"}, {1: "b_dim_1"})
    assert found.seen == {"rows": (4,), "columns": (3,), "b_dim_1": (5,)}


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_the_input_does_not_have(axis: int) -> None:
    observation = observed(Applies(lambda x: x), (torch.randn(4, 3),))
    with pytest.raises(ConfigurationError, match=rf"axis {axis} of input 'x', whose shape \(4, 3\) has 2 axes"):
        requested_dims({"x": [axis]}, ["x"], observation)
