"""The sizes at which a graph is right: finds limits by bisection, and looks for wrong sizes between them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.resizing import pointed_at
from lightning_onnx.module.calls.signature import SizeRange
from lightning_onnx.module.cases import Case
from lightning_onnx.module.extremes import case_at, first_taken
from lightning_onnx.module.runner import Runner
from lightning_onnx.pipeline.candidate import Candidate
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.traced_file import Mismatch, comparing

_LARGEST_TABLE = 4096
"""Limits above this size are not searched: the calls would take too long if the module itself has no limit."""

_NEAR = 8
"""How many sizes are tried to find one that the module takes: it may take only multiples of some number."""

_FAR = 16
"""If no maximum is known, sizes up to about this one are tried."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """The sizes of a dim at which a graph is right.

    Attributes:
        sizes: The sizes.
        below: The mismatch at the next smaller size that the module takes; None if there is none.
        above: The mismatch at the next larger size that the module takes; None if there is none.
        between: A mismatch at a size that is not a multiple of the step.
    """

    sizes: SizeRange
    below: Mismatch | None = None
    above: Mismatch | None = None
    between: Mismatch | None = None

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """The mismatches on both sides."""
        return tuple(mismatch for mismatch in (self.below, self.above) if mismatch is not None)


def find_limits(candidate: Candidate, run: Runner, config: ExportConfig) -> dict[str, Limit]:
    """Find the limits of the dims for which a graph is wrong at some sizes and right at others.

    Args:
        candidate: A graph that is right at the traced sizes.
        run: Runs the module.
        config: The options.

    Returns:
        The limits by dim, without dims that are right only at the traced size.
    """
    request = candidate.graph.request
    dims = [dim for dim in request.dims if dim in candidate.wrong or dim in candidate.wrong_at_one]
    constant = {c.dim for c in candidate.constant_dims}
    limits: dict[str, Limit] = {}
    if not set(dims) - constant:
        return limits
    is_exact = config.parity.rtol is not None or config.parity.atol is not None
    with comparing(run, candidate.graph, candidate.cases, config, candidate.judged) as compare:

        def mismatch(case: Case) -> Mismatch | None:
            (found,) = compare([case])
            return None if found is None or (found.comparison.is_small and not is_exact) else found

        for dim in dims:
            limit = None if dim in constant else _Dim(candidate, dim, run, mismatch).limit()
            if limit is not None:
                limits[dim] = limit
        if any(mismatch(case) is not None for case in _corners(limits, request, run)):
            return {}  # the limits of one dim depend on the size of another
    return limits


def _corners(limits: Mapping[str, Limit], request: Request, run: Runner) -> Iterator[Case]:
    """Yield cases in which two dims are at an end of their limits."""
    traced = request.sizes(request.tensors)
    pointed = pointed_at(request.tensors, request.axes)
    ends: dict[str, set[int]] = {}
    for dim, limit in limits.items():
        sizes = (limit.sizes.min, limit.sizes.max or 2 * traced[dim])
        whole = {max(n - n % limit.sizes.step, limit.sizes.step) for n in sizes}
        ends[dim] = {n for n in whole if n > traced[dim] or (n < traced[dim] and dim not in pointed)}
    for first, second in itertools.combinations(ends, 2):
        for one, other in itertools.product(ends[first], ends[second]):
            case = case_at(request, run, {first: one, second: other})
            if case is not None:
                yield case


def limits_of_module(candidate: Candidate, run: Runner) -> dict[str, SizeRange]:
    """Return the limits of the module itself: an engine assumed them, and the module takes no larger size.

    Args:
        candidate: A graph.
        run: Runs the module.
    """
    request = candidate.graph.request
    traced = request.sizes(request.tensors)
    ranges = {}
    for assumed in candidate.graph.traced.assumed_ranges:
        if assumed.dim in traced and assumed.max is not None and traced[assumed.dim] <= assumed.max <= _LARGEST_TABLE:
            larger = (assumed.max + 1, assumed.max + traced[assumed.dim])  # a multiple may be needed
            if not first_taken(request, run, assumed.dim, larger):
                ranges[assumed.dim] = SizeRange(1, assumed.max)
    return ranges


def explains(limits: Mapping[str, Limit], candidate: Candidate) -> bool:
    """Tell whether the limits explain all wrong cases of a graph."""
    sizes = candidate.graph.request.sizes
    return all(
        any(sizes(case.tensors)[dim] not in limit.sizes for dim, limit in limits.items())
        for case in candidate.wrong_cases
    )


@dataclasses.dataclass
class _Dim:
    """Finds the limit of one dim by trying sizes between the known ones."""

    candidate: Candidate
    dim: str
    run: Runner
    mismatch: Callable[[Case], Mismatch | None]
    step: int = 1
    wrong: dict[int, Mismatch] = dataclasses.field(default_factory=dict)
    right: set[int] = dataclasses.field(default_factory=set)

    @property
    def _traced(self) -> dict[str, int]:
        return self.request.sizes(self.request.tensors)

    @property
    def request(self) -> Request:
        return self.candidate.graph.request

    def limit(self) -> Limit | None:
        """Return the limit; None if sizes within it are wrong and no step explains them."""
        size = self._traced[self.dim]
        self.wrong = {n: m for m in self.candidate.mismatches if (n := self._only_changed(m.case)) is not None}
        for step in (1, *(k for k in range(2, size + 1) if size % k == 0)):
            self.step = step
            limit = self._limit_of_step(size) if self.wrong else None
            if limit is not None:
                return limit
        return None

    def _limit_of_step(self, size: int) -> Limit | None:
        """Return the limit among multiples of the step; None if a multiple within it is wrong."""
        wrong = [n for n in self.wrong if n % self.step == 0]
        smaller, larger = [n for n in wrong if n < size], [n for n in wrong if n > size]
        low, below = self._boundary(size, max(smaller)) if smaller else (1, None)
        high, above = self._boundary(size, min(larger)) if larger else (None, None)
        if low == high:
            return None
        sizes = SizeRange(low, high, self.step)
        inside = self._inside(sizes)
        tried = [n for n in inside if self._is_right(n)]
        if any(n in sizes for n in self.wrong) or (self.step > 1 and not tried):
            return None
        between = next((m for n, m in self.wrong.items() if n % self.step), None)
        return Limit(sizes, below, above, between)

    def _inside(self, sizes: SizeRange) -> list[int]:
        """Return some sizes within a limit, near both ends and around the middle."""
        size, step = self._traced[self.dim], self.step
        may_shrink = self.dim not in pointed_at(self.request.tensors, self.request.axes)
        low = -(-(sizes.min if may_shrink else size) // step)
        high = max(2 * size, _FAR) // step + 1 if sizes.max is None else sizes.max // step
        middle = (low + high) // 2
        units = dict.fromkeys((low, high, low + 1, high - 1, middle, middle + 1, low + 2, high - 2))
        return [n * step for n in units if low <= n <= high and n * step != size]

    def _is_right(self, size: int) -> bool:
        """Tell whether the module takes a size and the graph is right at it; record the answer."""
        if size in self.right or size in self.wrong:
            return size in self.right
        for case in first_taken(self.request, self.run, self.dim, [size]):
            mismatch = self.mismatch(case)
            self._record(size, mismatch)
            return mismatch is None
        return False

    def _record(self, size: int, mismatch: Mismatch | None) -> None:
        if mismatch is None:
            self.right.add(size)
        else:
            self.wrong[size] = mismatch

    def _only_changed(self, case: Case) -> int | None:
        """Return the size of this dim in a case in which all other dims have their traced sizes, else None."""
        traced, sizes = self._traced, self.request.sizes(case.tensors)
        others = [name for name in traced if name != self.dim and sizes[name] != traced[name]]
        return None if others or sizes[self.dim] == traced[self.dim] else sizes[self.dim]

    def _boundary(self, right: int, wrong: int) -> tuple[int, Mismatch | None]:
        """Return the last right size between a right and a wrong one, and the mismatch at the next one."""
        found: Mismatch | None = None
        while abs(wrong - right) > self.step or found is None:
            cases = first_taken(self.request, self.run, self.dim, self._between(right, wrong))
            if not cases:
                cases = first_taken(self.request, self.run, self.dim, [wrong])
                return right, found or (self.mismatch(cases[0]) if cases else None)
            size = self.request.sizes(cases[0].tensors)[self.dim]
            mismatch = self.mismatch(cases[0])
            self._record(size, mismatch)
            right, wrong, found = (size, wrong, found) if mismatch is None else (right, size, mismatch)
        return right, found

    def _between(self, right: int, wrong: int) -> Iterator[int]:
        low, high = sorted((right, wrong))
        middle = (low + high) // 2
        near = sorted((n for n in range(low + 1, high) if n % self.step == 0), key=lambda n: abs(n - middle))
        yield from near[:_NEAR]
