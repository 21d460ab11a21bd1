"""The batch dim is guessed by size and confirmed by running the module."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from lightning_onnx.module.calls.batch_dim import (
    BatchDims,
    few_rows,
    find_batch,
    lists_of_batch_size,
    static_batch_dims,
)
from tests.module.calls.observing import Applies, observed, runner_of


def found(function: Any, *calls: tuple[torch.Tensor, ...], batch_sizes: tuple[int, ...] = ()) -> Any:
    module = Applies(function)
    observation = observed(module, *calls, batch_sizes=batch_sizes)
    return find_batch(observation, runner_of(module, observation)).axes


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


@pytest.mark.parametrize(
    ("function", "shapes", "axes"),
    [
        (lambda x: x @ torch.ones(4, 2), [(8, 4)], (0,)),  # two views, and as many features as the loader's batch
        (lambda x: x.mean(1), [(12, 4)], (0,)),  # three views; another number of features changes no size of the result
        (lambda x: x @ torch.ones(3, 2), [(5, 8, 3)], (1,)),  # time first, two views
        (lambda x, y: x + y.mean(), [(4, 3), (4, 3)], (0, 0)),  # only one of the inputs fixes the rows of the output
        (lambda x, y: x @ torch.ones(3, 2) + y.sum(), [(8, 3), (8, 3)], (0, 0)),
        (lambda x: x.cumsum(0), [(4, 4)], (1,)),  # causal along time, which comes first and is as long
        (lambda x: x.cumsum(1) - x.cumsum(1).mean(0), [(4, 4)], (0,)),  # the same along dim 1, and mixed along dim 0
    ],
)
def test_a_guess_that_the_module_refutes_falls_back_to_others(function: Any, shapes: Any, axes: Any) -> None:
    assert found(function, tuple(torch.randn(s) for s in shapes), batch_sizes=(4,)) == axes


def test_crops_of_one_volume_with_a_channel() -> None:
    calls = [(torch.randn(4, 1, 6),), (torch.randn(4, 1, 6),)]
    assert found(lambda x: torch.conv1d(x, torch.ones(2, 1, 3)), *calls, batch_sizes=(1, 1)) == (0,)


def test_dims_with_equal_evidence_are_returned() -> None:
    module = Applies(lambda x: x * 2)
    observation = observed(module, (torch.randn(4, 4, 3),), batch_sizes=(4,))
    assert find_batch(observation, runner_of(module, observation)) == BatchDims((0,), ((0, 1),))


def sums_of_neighbours(x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    return x + torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])


def sums_of_graphs(x: torch.Tensor, edges: torch.Tensor, graph: torch.Tensor) -> torch.Tensor:
    return x.new_zeros(int(graph.max()) + 1, 6).index_add(0, graph, sums_of_neighbours(x, edges))


@pytest.mark.parametrize("batch_size", [1, 2, 4, None, 24], ids=str)
@pytest.mark.parametrize("function", [sums_of_neighbours, sums_of_graphs])
@pytest.mark.parametrize("counts", [(24, 27), (24, 24)], ids=["numbers that vary", "one number"])
def test_nodes_of_graphs_are_dynamic_and_not_the_batch(function: Any, batch_size: int | None, counts: Any) -> None:
    """A batch size of None is that of a sample, and one of 24 that of a loader of whole batches."""
    calls = []
    for nodes in counts:
        edges = torch.randint(0, nodes, (2, 40))
        graph = torch.arange(nodes) * (batch_size or 4) // nodes
        calls.append((torch.randn(nodes, 6), edges, graph)[: 2 + (function is sums_of_graphs)])
    module = Applies(function)
    sizes = counts if batch_size == 24 else (batch_size, batch_size)
    observation = observed(module, *calls, batch_sizes=sizes)
    nodes = ((0, 0), (2, 0))[: len(calls[0]) - 1]
    assert find_batch(observation, runner_of(module, observation)) == BatchDims((None,) * len(calls[0]), nodes)


def test_graphs_with_a_row_for_each_graph() -> None:
    """The nodes, and what each graph has, are told apart."""
    module = Applies(lambda x, edges, scale: (sums_of_neighbours(x, edges), scale * 2))
    call = (torch.randn(24, 6), torch.randint(0, 24, (2, 40)), torch.randn(4, 3))
    observation = observed(module, call, batch_sizes=(4,))
    assert find_batch(observation, runner_of(module, observation)) == BatchDims((None, None, 0), ((0, 0),))


def test_offsets_of_bags_are_the_batch_and_told_where_static() -> None:
    """They point at the elements as the edges of a graph do at its nodes."""
    module = Applies(lambda ids, offsets: functional.embedding_bag(ids, torch.eye(9), offsets, mode="sum"))
    call = (torch.arange(9), torch.tensor([0, 3, 5, 7]))
    observation = observed(module, call, batch_sizes=(4,))
    assert find_batch(observation, runner_of(module, observation)) == BatchDims((None, 0), ((0, 0),))
    assert list(static_batch_dims(observation, ({0: "elements"}, {}))) == [(1, 0, 1)]


@pytest.mark.parametrize("rows", [2, 4])
def test_two_rows_of_tokens_beside_a_batch_are_no_edges(rows: int) -> None:
    tokens = torch.randint(0, 9, (2, 5)) if rows == 2 else torch.randint(4, 9, (2, 5))
    assert found(lambda x, tokens: x * 2 + tokens.sum(), (torch.randn(rows, 3), tokens))[0] == 0


def test_images_that_regions_index_are_the_batch() -> None:
    def mean_of_regions(images: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        return images[regions[:, 0].long()].mean(1) * regions[:, 1]

    regions = torch.tensor([[0.0, 1.5], [3.0, 2.5], [2.0, 0.5], [1.0, 1.0], [3.0, 0.5]])
    assert found(mean_of_regions, (torch.randn(4, 3), regions), batch_sizes=(4,)) == (0, None)


@pytest.mark.parametrize(
    ("shapes", "axes", "static"),
    [
        ([(4, 3)], ({0: "batch"},), []),
        ([(4, 3)], ({},), [(0, 0, 1)]),
        ([(12, 5)], ({},), [(0, 0, 3)]),
        ([(4, 3), (5, 4)], ({0: "batch"}, {}), [(1, 1, 1)]),
        ([(4, 3), (8, 3)], ({0: "batch"}, {}), []),  # may be anything; there is a batch
        ([(5, 3)], ({},), []),
    ],
)
def test_static_dims_that_look_like_the_batch(shapes: Any, axes: Any, static: Any) -> None:
    observation = observed(Applies(lambda *x: x), tuple(torch.randn(s) for s in shapes), batch_sizes=(4,))
    assert list(static_batch_dims(observation, axes)) == static
    unknown = observed(Applies(lambda *x: x), tuple(torch.randn(s) for s in shapes))
    assert not list(static_batch_dims(unknown, axes))


def test_as_many_features_as_graphs_do_not_look_like_the_batch() -> None:
    call = (torch.randn(24, 4), torch.randint(0, 24, (2, 40)), torch.randn(40, 4))
    module = Applies(lambda x, edges, weights: sums_of_neighbours(x, edges) + weights.sum(0))
    observation = observed(module, call, batch_sizes=(4,))
    assert not list(static_batch_dims(observation, ({0: "nodes"}, {1: "edges"}, {0: "edges"})))
    assert not list(static_batch_dims(observation, ({}, {1: "edges"}, {0: "edges"})))


def test_few_rows_are_two_unless_other_inputs_point_at_them() -> None:
    module = Applies(lambda x, y: x.sum() + y.sum())
    plain = observed(module, (torch.randn(6, 3), torch.randn(6)), batch_sizes=(6,))
    assert [tuple(t.shape) for t in few_rows(plain)] == [(2, 3), (2,)]
    pointed = observed(module, (torch.randn(6, 3), torch.tensor([[0, 5, 2]])), batch_sizes=(6,))
    assert [tuple(t.shape) for t in few_rows(pointed)] == [(6, 3), (1, 3)]


class TakesParts(torch.nn.Module):
    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        return torch.stack([image.mean() for image in batch["images"]])


@pytest.mark.parametrize(
    ("images", "lists"),
    [
        ([torch.ones(3, 5)] * 4, {"batch.images": 4}),
        ((torch.ones(3, 5),) * 4, {}),
        ([torch.ones(3, 5)] * 3, {}),
        ([torch.ones(4, 5)] * 2 + [torch.ones(4, 2)] * 2, {}),
    ],
    ids=["as many as rows", "a tuple", "another number", "each a batch"],
)
def test_a_list_with_a_tensor_for_each_row(images: Any, lists: dict[str, int]) -> None:
    module: Any = TakesParts()
    assert lists_of_batch_size(observed(module, ({"images": images},), batch_sizes=(4,))) == lists  # type: ignore[arg-type]


def test_no_dim_of_one_row_of_a_list_is_the_batch() -> None:
    """Images of a detector: their height is a multiple of the batch size, and the module takes any."""
    module: Any = TakesParts()
    observation = observed(module, ({"images": [torch.randn(3, 8, 8)] * 2},), batch_sizes=(2,))  # type: ignore[arg-type]
    assert find_batch(observation, runner_of(module, observation)) == BatchDims((None, None))
