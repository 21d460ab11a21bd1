"""Which dim of each input is the batch: it has the loader's batch size, and the module takes another size of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.outputs import RunModule
from lightning_onnx.module.calls.resizing import Axes, kept_whole, pointed_at, resize
from lightning_onnx.module.calls.signature import BATCH

_MAX_ASSIGNMENTS = 32


def few_rows(observation: Observation) -> tuple[Tensor, ...]:
    """Return the first sample cut to two rows if its tensors look like a batch: a guess that a call has to confirm."""
    tensors = observation.samples[0].tensors
    guess: Axes = tuple(dict.fromkeys(_candidates(observation, i)[:1], BATCH) for i in range(len(tensors)))
    return tensors if kept_whole(tensors, guess) else resize(tensors, guess, {BATCH: 2})


def batch_axes(observation: Observation, run: RunModule) -> tuple[int | None, ...]:
    """Return each input's batch dim, None if it has none: guessed by size, confirmed by running the module twice."""
    tensors = observation.samples[0].tensors
    candidates = [_candidates(observation, i) for i in range(len(tensors))]
    if not any(candidates):  # such as two views of a batch in one call: another number of rows
        rows = next((t.shape[0] for t in tensors if t.dim()), 0)
        candidates = [[0] if t.dim() and t.shape[0] == rows else [] for t in tensors]
    assignments = itertools.islice(itertools.product(*([*c, None] for c in candidates)), 4096)
    ranked = sorted(assignments, key=lambda a: (sum(d is None for d in a), sum(d or 0 for d in a)))
    fallback: tuple[int | None, ...] | None = None
    for assignment in ranked[:_MAX_ASSIGNMENTS]:
        if all(d is None for d in assignment):
            break
        verdict = _rows_agree(tensors, assignment, run)
        if verdict:
            return assignment
        if verdict is not None and fallback is None:
            fallback = assignment
    return fallback or (None,) * len(tensors)


def _candidates(observation: Observation, tensor: int) -> list[int]:
    """Return the dims that have the loader's batch size in some call and never more (the last batch may be smaller)."""
    rank = observation.samples[0].tensors[tensor].dim()
    sizes = [(shapes, batch_size) for shapes, batch_size in observation.shapes if batch_size is not None]
    if not sizes:  # no loader: the first tensor's first dim
        sizes = [(shapes, next((s[0] for s in shapes if s), 0)) for shapes, _ in observation.shapes]
    return [
        d
        for d in range(rank)
        if all(shapes[tensor][d] <= size for shapes, size in sizes)
        and any(shapes[tensor][d] == size for shapes, size in sizes)
        and all(shapes[tensor][d] > 0 for shapes, _ in sizes)
    ]


def _rows_agree(tensors: Sequence[Tensor], assignment: Sequence[int | None], run: RunModule) -> bool | None:
    """Run two batches: True if the rows agree, False if the module runs but mixes them, None if it does not run.

    The batches are small, unless other inputs point into them.
    """
    axes: Axes = tuple({} if d is None else {d: BATCH} for d in assignment)
    seen = next(t.shape[d] for t, d in zip(tensors, assignment, strict=True) if d is not None)
    two = (seen, seen + 1) if pointed_at(tensors, axes) else (2, 3)
    small, large = (run(resize(tensors, axes, {BATCH: n})) for n in two)
    if small is None or large is None or len(small.tensors) != len(large.tensors):
        return None
    changed = False
    agree = True
    for a, b in zip(small.tensors, large.tensors, strict=True):
        if a.shape == b.shape:
            continue
        if a.dim() != b.dim():
            return None
        changed = True
        rows = b[tuple(slice(size) for size in a.shape)]
        agree &= rows.shape == a.shape and bool(
            torch.allclose(_real(a), _real(rows), rtol=1e-2, atol=1e-3, equal_nan=True)
        )
    return agree and changed


def _real(tensor: Tensor) -> Tensor:
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).double()
