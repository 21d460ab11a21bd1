"""The cases on which a graph is tried: observed values at the traced, at the observed and at other sizes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.resizing import kept_whole, pointed_at, resize
from lightning_onnx.module.calls.signature import BATCH
from lightning_onnx.module.cases import Case, CaseKind
from lightning_onnx.module.cost import affordable_cases, affordable_rows
from lightning_onnx.module.runner import Runner
from lightning_onnx.module.values.cases import value_cases

_CHECKED_ROWS = 4
"""Observed batches are cut to this many rows for checks, except the first, which keeps as many rows as a call of about
a second can take."""


def cases_of(request: Request, run: Runner) -> tuple[Case, ...]:
    """Return inputs that the module takes, with its outputs: traced sizes, observed calls, other sizes, other values.

    Args:
        request: The requested graph; the first case is the traced one.
        run: Runs the module.
    """
    cases = _Cases(request, run)
    cases.add("traced", request.tensors)
    for sample in request.samples[1:]:  # other values at the traced sizes: a mismatch here is not caused by sizes
        cases.add_values(sample.tensors)
    cases.add_observed()
    sizes = list(probe_sizes(request))
    if len(sizes) > affordable_cases(run, request.tensors):
        sizes = list(few_sizes(request))
    for alternatives in sizes:
        any(cases.add("resized", request.resized(sizes)) for sizes in alternatives)
    return (*cases.found, *value_cases(request, run))


def observed_cases(request: Request, run: Runner, known: Sequence[Mapping[str, int]] = ()) -> tuple[Case, ...]:
    """Return only the observed calls of other sizes than the traced one.

    Args:
        request: The requested graph.
        run: Runs the module.
        known: Sizes to leave out.
    """
    cases = _Cases(request, run, sizes=[request.sizes(request.tensors), *known])
    cases.add_observed()
    return tuple(cases.found)


@dataclasses.dataclass
class _Cases:
    """Collects inputs that the module takes."""

    request: Request
    run: Runner
    found: list[Case] = dataclasses.field(default_factory=list)
    sizes: list[Mapping[str, int]] = dataclasses.field(default_factory=list)

    def add(self, kind: CaseKind, tensors: tuple[Tensor, ...]) -> bool:
        """Add a case with new sizes; return False if the module does not take it."""
        sizes = self.request.sizes(tensors)
        if sizes in self.sizes:
            return True
        expected = self.run(tensors)
        if expected is None:
            return False
        self.sizes.append(sizes)
        label = ", ".join(f"{name}={size}" for name, size in sizes.items())
        self.found.append(Case(f"{kind} ({label})" if label else kind, tensors, expected.tensors, kind=kind))
        return True

    def add_observed(self) -> None:
        """Add the observed calls, one of each sizes."""
        request = self.request
        for number, sample in enumerate(request.samples):
            tensors = cut_rows(sample.tensors, request) if number else _affordable(sample.tensors, request, self.run)
            if request.fits(tensors):
                self.add("observed", tensors)

    def add_values(self, observed: tuple[Tensor, ...]) -> None:
        """Add the values of another observed call at the traced sizes, if only its rows have to be cut."""
        traced = self.request.sizes(self.request.tensors)
        tensors = resize(observed, self.request.axes, traced)
        only_rows = all(name == BATCH or size == traced[name] for name, size in self.request.sizes(observed).items())
        expected = self.run(tensors) if only_rows and self.request.fits(tensors) else None
        if expected is not None:
            label = f"traced with values of call {len(self.found) + 1}"
            self.found.append(Case(label, tensors, expected.tensors, kind="traced"))


def _affordable(tensors: Sequence[Tensor], request: Request, run: Runner) -> tuple[Tensor, ...]:
    rows = request.sizes(tensors).get(BATCH, 0)
    if rows <= _CHECKED_ROWS:
        return cut_rows(tensors, request)
    few = affordable_rows(run, request.tensors, request.sizes(request.tensors)[BATCH])
    return cut_rows(tensors, request, max(few, _CHECKED_ROWS))


def cut_rows(tensors: Sequence[Tensor], request: Request, rows: int = _CHECKED_ROWS) -> tuple[Tensor, ...]:
    """Return the tensors of an observed call with a smaller batch; the same if it is small or cannot be cut.

    Args:
        tensors: The tensors.
        request: The requested graph, which knows the batch dim.
        rows: The maximum size of the batch.
    """
    sizes = request.sizes(tensors)
    if sizes.get(BATCH, 0) <= rows or BATCH in kept_whole(tensors, request.axes):
        return tuple(t.contiguous() for t in tensors)
    return resize(tensors, request.axes, {BATCH: rows})


def multiples(request: Request, run: Runner, taken: Sequence[Mapping[str, int]] = ()) -> Iterator[str]:
    """Find dims for which the module takes only multiples of a number, by calling it; yield a clause for each.

    Args:
        request: The requested graph.
        run: Runs the module.
        taken: Sizes that the module is known to take.
    """
    traced = request.sizes(request.tensors)
    for name, size in traced.items():
        if name == BATCH or math.gcd(size, *(sizes[name] for sizes in taken if sizes[name] > 1)) == 1:
            continue
        if run(request.resized(traced | {name: size + 1})) is not None:
            continue
        steps = (k for k in range(2, size + 1) if size % k == 0)
        step = next((k for k in steps if run(request.resized(traced | {name: size + k})) is not None), None)
        if step is not None:
            yield f"{name} is a multiple of {step}"


def few_sizes(request: Request) -> Iterator[list[dict[str, int]]]:
    """Yield lists like ``probe_sizes``, for expensive calls: each dim is tried once, then all at once.

    The batch is tried at 1 too. ``extreme_cases`` tries the smallest size of each dim.
    """
    traced, larger = request.sizes(request.tensors), _larger(request)
    pointed = pointed_at(request.tensors, request.axes)
    for name in request.dims:
        if name == BATCH:
            yield from ([traced | {name: n}] for n in (larger[name], 1) if n > 1 or name not in pointed)
        else:
            sizes = _top(request, name) + 1, larger[name], 2 * _top(request, name)
            yield [traced | {name: n} for n in sorted(sizes, key=lambda n: n % 2 == traced[name] % 2)]
    if len(request.dims) > 1:
        yield [larger]


def probe_sizes(request: Request) -> Iterator[list[dict[str, int]]]:
    """Yield lists of sizes to try a graph at; the first sizes of each list that the module takes are enough.

    Each dim is tried at larger sizes that were not observed: the next by the observed step (128 comes after 64 and 96),
    and one or two more, so that odd and even sizes are tried; at smaller sizes, and at 1. Then all dims change at once.
    A dim that another input holds indices of only becomes larger.
    """
    pointed = pointed_at(request.tensors, request.axes)
    traced, larger = request.sizes(request.tensors), _larger(request)
    for name in request.dims:
        if name == BATCH:
            yield [traced | {name: larger[name]}]
        else:
            top = _top(request, name)
            smaller = () if name in pointed else (n for n in (top // 2, top - 1, top - 2) if n > 1)
            only_odd_or_even = larger[name] % 2 == traced[name] % 2
            next_ones = [n for n in (top + 1, top + 2) if not (only_odd_or_even and n % 2 == larger[name] % 2)]
            yield [traced | {name: n} for n in (larger[name], top * 2)]
            yield [traced | {name: n} for n in (*next_ones, *smaller) if n != larger[name]]
        if name not in pointed:
            yield [traced | {name: 1}]
    if len(request.dims) > 1:
        yield [larger]
        if request.dims[0] not in pointed:
            yield [larger | {request.dims[0]: 1}]


def _larger(request: Request) -> dict[str, int]:
    """Return for each dim a larger size than any seen one."""
    traced = request.sizes(request.tensors)
    larger = {}
    for name in request.dims:
        seen = sorted({*request.seen.get(name, ()), traced[name]})
        step = math.gcd(*(b - a for a, b in itertools.pairwise(seen))) or seen[-1]
        larger[name] = seen[-1] + step
        if name == BATCH:
            larger[name] = 5 if traced[name] == 3 else max(3, traced[name] + 1)
    return larger


def _top(request: Request, name: str) -> int:
    return max({*request.seen.get(name, ()), request.sizes(request.tensors)[name]})
