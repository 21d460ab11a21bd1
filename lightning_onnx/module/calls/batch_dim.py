"""Finds the batch dim of each input: guesses it from the loader's batch size, then runs the module to confirm it."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lightning_onnx.module.calls.batch_evidence import BOTH, FOLLOWS_ORDER, RUNS, Assignment, evidence
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.outputs import RunModule
from lightning_onnx.module.calls.resizing import Axes, kept_whole, pointed_at, resize
from lightning_onnx.module.calls.signature import BATCH


@dataclasses.dataclass(frozen=True)
class BatchDims:
    """The batch dims that were found.

    Attributes:
        axes: The batch dim of each input.
        possible: Other dims, by input and index, that are dynamic too: those for which the evidence is as good (the
            module takes another size, and the rows are independent), and the nodes of graphs.
    """

    axes: Assignment
    possible: tuple[tuple[int, int], ...] = ()


_MAX_ASSIGNMENTS = 32

_MAX_FACTORS = 4
"""Multiples of the batch size that are tried."""


def few_rows(observation: Observation) -> tuple[Tensor, ...]:
    """Return the first sample, cut to two rows if its tensors look like a batch; a call has to confirm this guess."""
    tensors = observation.samples[0].tensors
    guess: Axes = tuple(dict.fromkeys(_of_batch_size(observation, i)[:1], BATCH) for i in range(len(tensors)))
    return tensors if kept_whole(tensors, guess) else resize(tensors, guess, {BATCH: 2})


def find_batch(observation: Observation, run: RunModule) -> BatchDims:
    """Find each input's batch dim.

    Dims of the loader's batch size are tried first, then those of a multiple (several views or crops of each sample),
    then the first dim. A later guess wins only with better evidence than all earlier ones. If the first dim holds the
    nodes of graphs, only dims of the loader's batch size can be the batch.

    Args:
        observation: The calls.
        run: Runs the module on flat tensors.
    """
    tensors = observation.samples[0].tensors
    nodes = _nodes(observation)
    best: _Evidence | None = None
    for assignments in [_assignments(_without(nodes, observation))] if nodes else _guesses(observation):
        best = _best(tensors, assignments, run, best)
        if best is not None and best.weight >= FOLLOWS_ORDER:
            break
    if best is None or (nodes and best.weight == RUNS and not _are_vectors(tensors, best.assignment)):
        return BatchDims((None,) * len(tensors), nodes)
    return BatchDims(best.assignment, tuple(sorted({*best.possible, *nodes})))


def _nodes(observation: Observation) -> tuple[tuple[int, int], ...]:
    """Return the first dims that hold the nodes of graphs: others index or group them, and they are not the batch.

    Without a loader's batch size, only edges tell the nodes of graphs from samples that others index, such as images
    with regions.
    """
    tensors = observation.samples[0].tensors
    first = next((i for i, t in enumerate(tensors) if t.dim()), None)
    if first is None:
        return ()
    is_known = any(size is not None for _, size in observation.shapes) and 0 not in _of_batch_size(observation, first)
    if not is_known and not any(_are_edges(observation, i, first) for i in range(len(tensors))):
        return ()
    rows = [shapes[first][0] for shapes, _ in observation.shapes]
    dims = tuple(
        (i, 0) for i, t in enumerate(tensors) if t.dim() and [shapes[i][0] for shapes, _ in observation.shapes] == rows
    )
    axes: Axes = tuple({0: "nodes"} if (i, 0) in dims else {} for i in range(len(tensors)))
    return dims if kept_whole(tensors, axes) else ()


def _are_edges(observation: Observation, index: int, nodes: int) -> bool:
    """Tell whether an input holds the edges of graphs, as two rows of indices of another one's entries.

    Args:
        observation: The calls.
        index: The input.
        nodes: The other one.
    """
    pairs = [(shapes[index], shapes[nodes]) for shapes, _ in observation.shapes]
    if not all(len(edges) == 2 and edges[0] == 2 for edges, _ in pairs) or all(rows[0] == 2 for _, rows in pairs):
        return False
    calls = [(sample.tensors[index], sample.tensors[nodes]) for sample in observation.samples]
    return all(
        not (edges.is_floating_point() or edges.is_complex() or edges.dtype == torch.bool)
        and bool(((edges >= 0) & (edges < len(rows))).all())
        for edges, rows in calls
    ) and any(bool((edges >= 2).any()) for edges, _ in calls)


def _are_vectors(tensors: Sequence[Tensor], assignment: Assignment) -> bool:
    """Tell whether a batch is that of vectors, such as offsets: the two rows of edges may just equal its size."""
    return all(t.dim() == 1 for t, dim in zip(tensors, assignment, strict=True) if dim is not None)


def _without(nodes: Sequence[tuple[int, int]], observation: Observation) -> list[list[int]]:
    """Return the dims of each input that have the batch size and hold no nodes."""
    every = range(len(observation.samples[0].tensors))
    return [[d for d in _of_batch_size(observation, i) if (i, d) not in nodes] for i in every]


def static_batch_dims(observation: Observation, axes: Axes) -> Iterator[tuple[int, int, int]]:
    """Yield static dims that look like the batch: index of the input, the dim, and the multiple of the batch size.

    The edges of a graph, which index its nodes, do not count. Nor do the features of its nodes and edges: there may be
    as many of them as the batch has graphs.

    Args:
        observation: The calls; if the loader's batch size is unknown, nothing is yielded.
        axes: Names of the dynamic dims of each input.
    """
    if all(size is None for _, size in observation.shapes):
        return
    tensors, nodes = observation.samples[0].tensors, _nodes(observation)
    has_batch = bool(nodes) or any(BATCH in named.values() for named in axes)
    for i, named in enumerate(axes):
        are_edges = tensors[i].dim() > 1 and len(tensors[i]) == 2
        indexes = are_edges and nodes and pointed_at((tensors[nodes[0][0]], tensors[i]), ({0: "nodes"}, {}))
        are_parts = (i, 0) in nodes or (nodes and 0 in named)
        if indexes or are_parts or BATCH in named.values():
            continue
        equal = [d for d in _of_batch_size(observation, i) if d not in named]
        multiple = None if has_batch or 0 in named else _multiple(observation, i, 0)
        if equal:
            yield i, equal[0], 1
        elif multiple is not None:
            yield i, 0, multiple


def lists_of_batch_size(observation: Observation) -> dict[str, int]:
    """Return the lists among the arguments that have one tensor for each row of the loader's batch, with their lengths.

    A graph takes a fixed number of tensors. Tuples do not count: they often hold different things, such as two states.
    Nor do lists of batches, such as crops of several sizes.
    """
    sizes = {size for _, size in observation.shapes if size is not None}
    structure = observation.samples[0].structure
    lengths = collections.Counter(path[:-1] for path in structure.paths)
    return {
        ".".join(path): length
        for path, length in lengths.items()
        if length > 1 and length in sizes and isinstance(_at(structure.skeleton, path), list)
        if not _are_batches(observation, [i for i, part in enumerate(structure.paths) if part[:-1] == path])
    }


def _single_rows(observation: Observation) -> set[int]:
    """Return the tensors that are one row each, in a list with one for each row: none of their dims is the batch."""
    lists = lists_of_batch_size(observation)
    return {i for i, path in enumerate(observation.samples[0].structure.paths) if ".".join(path[:-1]) in lists}


def _are_batches(observation: Observation, tensors: Sequence[int]) -> bool:
    """Tell whether tensors have the same number of rows in each call, the loader's batch size in one of them."""
    calls = [([shapes[i][:1] for i in tensors], size) for shapes, size in observation.shapes]
    alike = all(len(set(rows)) == 1 for rows, _ in calls)
    return alike and any(rows[0] == (size,) for rows, size in calls)


def _at(value: object, path: Sequence[str]) -> object:
    """Return what a path leads to, through mappings only; None if it leads elsewhere."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _guesses(observation: Observation) -> Iterator[list[Assignment]]:
    """Yield lists of assignments, most likely first."""
    tensors = observation.samples[0].tensors
    yield _assignments([_of_batch_size(observation, i) for i in range(len(tensors))])
    factors = [
        {d: k for d in range(min(t.dim(), 2)) if (k := _multiple(observation, i, d))} for i, t in enumerate(tensors)
    ]
    for factor in sorted({k for found in factors for k in found.values() if k > 1})[:_MAX_FACTORS]:
        yield _assignments([[d for d, k in found.items() if k == factor] for found in factors])
    single = _single_rows(observation)
    first = [None if i in single or not t.dim() else t.shape[0] for i, t in enumerate(tensors)]
    rows = next((size for size in first if size is not None), None)
    yield _assignments([[0] if size is not None and size == rows else [] for size in first])


def _assignments(candidates: Sequence[Sequence[int]]) -> list[Assignment]:
    """Return the assignments to try: first those that leave out the fewest inputs, then those with earlier dims."""
    every = itertools.islice(itertools.product(*([*c, None] for c in candidates)), 4096)
    some = [a for a in every if any(d is not None for d in a)]
    return sorted(some, key=lambda a: (_left_out(a), sum(d or 0 for d in a)))[:_MAX_ASSIGNMENTS]


def _left_out(assignment: Assignment) -> int:
    return sum(d is None for d in assignment)


def _of_batch_size(observation: Observation, tensor: int) -> list[int]:
    """Return the dims that have the loader's batch size in some call and never exceed it (a last batch is smaller)."""
    rank = observation.samples[0].tensors[tensor].dim()
    sizes = _batch_sizes(observation)
    found = [
        d
        for d in range(rank)
        if all(shapes[tensor][d] <= size for shapes, size in sizes)
        and any(shapes[tensor][d] == size for shapes, size in sizes)
        and all(shapes[tensor][d] > 0 for shapes, _ in sizes)
    ]
    return [] if found and tensor in _single_rows(observation) else found  # which looks at all tensors of all calls


def _multiple(observation: Observation, tensor: int, dim: int) -> int | None:
    """Return the size of a dim divided by the batch size; None if this is not an integer, or not always the same."""
    found = {
        divmod(shapes[tensor][dim], size) if size and dim < len(shapes[tensor]) else (0, 0)
        for shapes, size in _batch_sizes(observation)
    }
    factor, rest = found.pop() if len(found) == 1 else (0, 0)
    return factor if factor and not rest and tensor not in _single_rows(observation) else None


def _batch_sizes(observation: Observation) -> list[tuple[tuple[tuple[int, ...], ...], int]]:
    """Return the shapes of each call with the loader's batch size; without a loader, with the size of the first dim."""
    sizes = [(shapes, batch_size) for shapes, batch_size in observation.shapes if batch_size is not None]
    return sizes or [(shapes, next((s[0] for s in shapes if s), 0)) for shapes, _ in observation.shapes]


@dataclasses.dataclass(frozen=True)
class _Evidence:
    """The evidence for an assignment, and other dims with equally good evidence."""

    weight: int
    assignment: Assignment
    possible: tuple[tuple[int, int], ...] = ()


def _best(
    tensors: Sequence[Tensor], assignments: Iterable[Assignment], run: RunModule, best: _Evidence | None
) -> _Evidence | None:
    """Return the assignment with the best evidence; ``best`` unless there is a better one.

    Assignments that leave out more inputs are tried only if the evidence so far is weak.
    """
    for _, group in itertools.groupby(assignments, key=_left_out):
        weights = {assignment: evidence(tensors, assignment, run) for assignment in group}
        for assignment, weight in weights.items():
            if weight is not None and (best is None or weight > best.weight):
                others = [a for a, w in weights.items() if w == weight == BOTH and a != assignment]
                possible = {(i, d) for a in others for i, d in enumerate(a) if d is not None and d != assignment[i]}
                best = _Evidence(weight, assignment, tuple(sorted(possible)))
        if best is not None and best.weight >= FOLLOWS_ORDER:
            break
    return best
