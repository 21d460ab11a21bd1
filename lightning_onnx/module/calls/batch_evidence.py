"""Evidence that a dim is the batch: the module is run on batches of two sizes, and on rows in another order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_onnx.module.calls.outputs import Outputs, RunModule
from lightning_onnx.module.calls.resizing import Axes, kept_whole, pointed_at, resize
from lightning_onnx.module.calls.signature import BATCH

Assignment = tuple[int | None, ...]
"""The batch dim of each input; None for an input without one."""

RUNS, KEEPS_ROWS, FOLLOWS_ORDER, BOTH = range(4)
"""Evidence for an assignment. ``RUNS``: the module takes another size of the dim. ``KEEPS_ROWS``: besides, more rows
leave the results of the first ones unchanged. ``FOLLOWS_ORDER``: rows in another order give the same results in that
order, which time steps do not. ``BOTH``: both of these."""


def evidence(tensors: Sequence[Tensor], assignment: Assignment, run: RunModule) -> int | None:
    """Run batches of two sizes, and one in another order; return the evidence for the assignment.

    The batches are small, unless other inputs hold indices into them; indexed rows stay in order.

    Args:
        tensors: The inputs of one call.
        assignment: The dims to try; at least one.
        run: Runs the module on flat tensors.

    Returns:
        One of ``RUNS``, ``KEEPS_ROWS``, ``FOLLOWS_ORDER`` and ``BOTH``; None if the module does not take the batches.
    """
    axes: Axes = tuple({} if d is None else {d: BATCH} for d in assignment)
    seen = next(t.shape[d] for t, d in zip(tensors, assignment, strict=True) if d is not None)
    pointed = bool(pointed_at(tensors, axes))
    few, more = (seen, seen + 1) if pointed else (2, 3)
    large_batch = resize(tensors, axes, {BATCH: more})
    small, large = run(resize(tensors, axes, {BATCH: few})), run(large_batch)
    if small is None or large is None or len(small.tensors) != len(large.tensors):
        return None
    if any(a.dim() != b.dim() for a, b in zip(small.tensors, large.tensors, strict=True)):
        return None
    rows = [
        [d for d in range(a.dim()) if a.shape[d] != b.shape[d]]
        for a, b in zip(small.tensors, large.tensors, strict=True)
    ]
    if not any(rows):
        return RUNS
    keeps = _keeps_rows(small, large)
    follows = (
        keeps if pointed or kept_whole(tensors, axes) else _follows_order(large_batch, assignment, large, rows, run)
    )
    return KEEPS_ROWS * keeps + FOLLOWS_ORDER * follows


def _keeps_rows(small: Outputs, large: Outputs) -> bool:
    """Tell whether the results of a batch are the first rows of those of a larger batch."""
    return all(
        _close(a, b[tuple(slice(size) for size in a.shape)])
        for a, b in zip(small.tensors, large.tensors, strict=True)
        if a.shape != b.shape
    )


def _follows_order(
    batch: Sequence[Tensor], assignment: Assignment, before: Outputs, rows: Sequence[list[int]], run: RunModule
) -> bool:
    """Tell whether rolling the rows by one rolls the results by one."""
    rolled = tuple(t if d is None else t.roll(1, d) for t, d in zip(batch, assignment, strict=True))
    after = run(rolled)
    return (
        after is not None
        and len(after.tensors) == len(before.tensors)
        and all(
            _close(b.roll([1] * len(dims), dims) if dims else b, a)
            for b, a, dims in zip(before.tensors, after.tensors, rows, strict=True)
        )
    )


def _close(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(
        torch.allclose(_real(first), _real(second), rtol=1e-2, atol=1e-3, equal_nan=True)
    )


def _real(tensor: Tensor) -> Tensor:
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).double()
