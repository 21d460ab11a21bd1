"""Cases that look for limits of sizes: the smallest and the largest affordable size of each dim."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.resizing import pointed_at, resize
from lightning_onnx.module.calls.signature import BATCH
from lightning_onnx.module.cases import Case
from lightning_onnx.module.cost import affordable_rows
from lightning_onnx.module.runner import Runner

_LARGEST = 1024
"""The largest size that is tried; position tables and batch limits are seldom larger."""

_SHARE = 32
"""A call at the largest size may cost at most this fraction of a check's budget: it only looks for a limit."""


def extreme_cases(request: Request, run: Runner, hints: Mapping[str, Sequence[int]]) -> Iterator[Case]:
    """Yield cases at the smallest and the largest size of each dim that the module takes, and at hinted sizes.

    Args:
        request: The requested graph.
        run: Runs the module.
        hints: Sizes of dims at which something may change.
    """
    pointed = pointed_at(request.tensors, request.axes)
    traced = request.sizes(request.tensors)
    for name, size in traced.items():
        largest = _affordable(request, run, name)
        larger = (n for n in iter(_halving(largest)) if n > 2 * size)
        smaller = (2**k for k in range(size.bit_length()) if 2**k < size and name not in pointed)
        at_hints = [[n] for n in hints.get(name, ()) if 0 < n <= largest and (n > size or name not in pointed)]
        tried: list[Iterable[int]] = [larger, smaller, *at_hints]
        for sizes in tried:
            yield from first_taken(request, run, name, sizes)


def first_taken(request: Request, run: Runner, dim: str, sizes: Iterable[int]) -> list[Case]:
    """Return a case at the first of the sizes that the module takes; the other dims have their traced sizes."""
    cases = (case_at(request, run, {dim: n}) for n in sizes)
    return list(itertools.islice((case for case in cases if case is not None), 1))


def case_at(request: Request, run: Runner, sizes: Mapping[str, int]) -> Case | None:
    """Return a case at some sizes, all other dims as traced; None if the module does not take it.

    Its rows are observed ones in random order: repeated in turns, sums over parts of them would be equal.
    """
    wanted = request.sizes(request.tensors) | dict(sizes)
    tensors = resize(request.sample.tensors, request.axes, wanted, in_turns=False)
    expected = run(tensors)
    if expected is None:
        return None
    told = ", ".join(f"{name}={size}" for name, size in request.sizes(tensors).items())
    return Case(f"resized ({told})", tensors, expected.tensors, kind="resized")


def _affordable(request: Request, run: Runner, dim: str) -> int:
    """Return the largest size to try. The cost of a call may grow with the square of any dim except the batch."""
    size = request.sizes(request.tensors)[dim]
    times = affordable_rows(run, request.tensors, size) / size / _SHARE
    return min(_LARGEST, int(size * (times if dim == BATCH else math.sqrt(max(times, 0)))))


def _halving(size: int) -> Iterator[int]:
    while size:
        yield size
        size //= 2
