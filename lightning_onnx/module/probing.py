"""The cases on which a graph is tried: observed values at the traced, at the observed and at other sizes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.resizing import kept_whole, pointed_at, resize
from lightning_onnx.module.calls.signature import BATCH
from lightning_onnx.module.cases import Case, CaseKind
from lightning_onnx.module.cost import affordable_rows
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
    for alternatives in probe_sizes(request):
        any(cases.add("resized", request.resized(sizes)) for sizes in alternatives)
    return (*cases.found, *value_cases(request, run))


def observed_cases(request: Request, run: Runner) -> tuple[Case, ...]:
    """Return only the observed calls of other sizes than the traced one; arguments as for ``cases_of``."""
    cases = _Cases(request, run, sizes=[request.sizes(request.tensors)])
    cases.add_observed()
    return tuple(cases.found)


@dataclasses.dataclass
class _Cases:
    """Collects inputs that the module takes."""

    request: Request
    run: Runner
    found: list[Case] = dataclasses.field(default_factory=list)
    sizes: list[dict[str, int]] = dataclasses.field(default_factory=list)

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
            tensors = _cut(sample.tensors, request) if number else _affordable(sample.tensors, request, self.run)
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
        return _cut(tensors, request)
    few = affordable_rows(run, request.tensors, request.sizes(request.tensors)[BATCH])
    return _cut(tensors, request, max(few, _CHECKED_ROWS))


def _cut(tensors: Sequence[Tensor], request: Request, rows: int = _CHECKED_ROWS) -> tuple[Tensor, ...]:
    sizes = request.sizes(tensors)
    if sizes.get(BATCH, 0) <= rows or BATCH in kept_whole(tensors, request.axes):
        return tuple(t.contiguous() for t in tensors)
    return resize(tensors, request.axes, {BATCH: rows})


def multiples(request: Request, run: Runner) -> Iterator[str]:
    """Find dims for which the module takes only multiples of a number, by calling it; yield a clause for each."""
    traced = request.sizes(request.tensors)
    for name, size in traced.items():
        if name == BATCH or run(request.resized(traced | {name: size + 1})) is not None:
            continue
        steps = (k for k in range(2, size + 1) if size % k == 0)
        step = next((k for k in steps if run(request.resized(traced | {name: size + k})) is not None), None)
        if step is not None:
            yield f"{name} is a multiple of {step}"


def probe_sizes(request: Request) -> Iterator[list[dict[str, int]]]:
    """Yield lists of sizes to try a graph at; the first sizes of each list that the module takes are enough.

    Each dim is tried at larger sizes that were not observed: the next by the observed step (128 comes after 64 and 96),
    and one more; at smaller sizes, and at 1. Then all dims change at once. A dim that another input holds indices of
    only becomes larger.
    """
    pointed = pointed_at(request.tensors, request.axes)
    traced = request.sizes(request.tensors)
    larger: dict[str, int] = {}
    for name in request.dims:
        if name == BATCH:
            larger[name] = 5 if traced[name] == 3 else max(3, traced[name] + 1)
            yield [traced | {name: larger[name]}]
        else:
            seen = sorted({*request.seen.get(name, ()), traced[name]})
            top = seen[-1]
            larger[name] = top + (math.gcd(*(b - a for a, b in itertools.pairwise(seen))) or top)
            smaller = (n for n in (top // 2, top - 1, top - 2) if n > 1)
            yield [traced | {name: n} for n in (larger[name], top * 2)]
            yield [traced | {name: n} for n in (top + 1, *(() if name in pointed else smaller))]
        if name not in pointed:
            yield [traced | {name: 1}]
    if len(request.dims) > 1:
        yield [larger]
        if request.dims[0] not in pointed:
            yield [larger | {request.dims[0]: 1}]
