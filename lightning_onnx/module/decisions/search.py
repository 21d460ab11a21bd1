"""Searches for inputs on which a method decides differently from the traced call."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.cases import Case
from lightning_onnx.module.decisions.margins import gradients
from lightning_onnx.module.decisions.moves import Move, moved, moves
from lightning_onnx.module.decisions.record import Decisions, Site, record
from lightning_onnx.module.runner import Runner

_SECONDS = 20.0
"""Time limit of one search. Inputs that were not tried by then are not counted as tried."""

_CASES_PER_DECISION = 2
"""Maximum number of cases with the same decisions; with a single one, both branches may agree by chance."""

_CASES = 24
"""Maximum number of cases."""

_COMPARED_VALUES = 4
"""Cases are distinguished by this many values of one condition; in a loop there may be many."""

_ROUNDS = 3
"""Maximum number of gradients computed for one condition."""

_HALVINGS = 12
"""Steps of the bisection between two inputs, for the point at which a condition flips."""

_STEPS = (1.5, 4.0, 16.0, 100.0)
"""How far to move along a gradient, as multiples of the distance at which a linear margin would be zero."""


@dataclasses.dataclass(frozen=True)
class Searched:
    """The result of a search.

    Attributes:
        traced: The decisions of the traced call.
        cases: Inputs on which the method decides differently, with its outputs.
        unflipped: Sites whose decision no input changed. If the method only raised on the other branch, the decision
            counts as changed.
        flipped_lines: Lines at which some input took another branch.
        varied: Sites at which some input on which the file is compared gave another value.
        uneven_loops: ``file:line`` of the loops of which some input changed the number of steps.
        tried: Number of inputs that were tried.
    """

    traced: Decisions
    cases: tuple[Case, ...]
    unflipped: tuple[Site, ...]
    flipped_lines: frozenset[str]
    varied: frozenset[Site]
    tried: int
    uneven_loops: frozenset[str] = frozenset()

    def may_decide(self, site: Site) -> bool:
        """Whether the value read at a site may decide something; one that is only stored, such as for a log, does not.

        Args:
            site: Where the value is read.
        """
        return site in self.traced.followed or self.traced.is_condition(site) or site not in self.varied


_KNOWN: WeakKeyDictionary[Runner, list[tuple[tuple[Tensor, ...], Searched]]] = WeakKeyDictionary()


def search_once(run: Runner, request: Request, cases: Sequence[Case] = ()) -> Searched:
    """Search once for each set of traced tensors; several engines share the result. Arguments as for ``search``."""
    known = _KNOWN.setdefault(run, [])
    for tensors, searched in known:
        if tensors is request.tensors:
            return searched
    found = search(run, request, cases)
    known.append((request.tensors, found))
    return found


def search(run: Runner, request: Request, cases: Sequence[Case] = ()) -> Searched:
    """Search for inputs at the traced sizes on which the method decides differently from the traced call.

    Args:
        run: Runs the module.
        request: The request, with the traced inputs and the observed calls.
        cases: Inputs on which the file is compared anyway, or that changed a decision with other weights.
    """
    traced = record(run.flat, request.tensors)
    if not traced.reads and not traced.has_value_sizes:
        return Searched(traced, (), (), frozenset(), frozenset(), 0)
    again = record(run.flat, request.tensors)
    if traced.differing(again) or traced.flipped_lines(again):  # the decisions do not depend on the inputs alone
        return Searched(traced, (), traced.sites(), frozenset(), frozenset(), 0)
    searching = _Search(run, request, traced)
    for case in cases:
        searching.look_at(case)
    for move in moves(request):
        searching.attempt(move)
    for site in searching.unflipped():
        for move in _along_gradient(run, request, site, searching):
            searching.attempt(move)
    for site in searching.unflipped():
        for move in _between(run, request, site, searching):
            searching.attempt(move)
    return Searched(
        traced,
        tuple(searching.cases),
        searching.unflipped(),
        frozenset(searching.flipped_lines),
        frozenset(searching.varied),
        searching.tried,
        frozenset(searching.uneven_loops),
    )


class _Search:
    """The state of a search."""

    def __init__(self, run: Runner, request: Request, traced: Decisions) -> None:
        self.run = run
        self.request = request
        self.traced = traced
        self.cases: list[Case] = []
        self.moved_sites: set[Site] = set()
        self.flipped_lines: set[str] = set()
        self.varied: set[Site] = set()
        self.uneven_loops: set[str] = set()
        self.conditions = dict(traced.conditions)
        self.flipped_inputs: dict[Site, tuple[Tensor, ...]] = {}
        self.tried = 0
        self._similar: dict[tuple[frozenset[object], ...], int] = {}
        self._until = time.monotonic() + _SECONDS

    def unflipped(self) -> tuple[Site, ...]:
        one_sided = {site for (site, _), values in self.conditions.items() if len(values) < 2}
        return tuple(s for s in self.traced.sites() if s not in self.moved_sites or s in one_sided)

    def is_over(self) -> bool:
        return time.monotonic() > self._until

    def look_at(self, case: Case) -> None:
        """Record the decisions on inputs on which the file is compared anyway."""
        if case.kind == "decision":
            self.attempt(Move("inputs that changed a decision before", case.tensors, case.beyond))
            return
        if case.kind == "values":  # as a decision, it fails the check in any range
            self.attempt(Move(case.label, case.tensors, case.beyond, is_uniform=_has_equal_rows(case.tensors)))
            return
        if case.kind == "traced" or self.is_over():
            return
        self.tried += 1
        other = record(self.run.flat, case.tensors, self.traced)
        same_sizes = all(a.shape == b.shape for a, b in zip(case.tensors, self.request.tensors, strict=True))
        if other.raised is None and same_sizes:
            self._credit(other)
        elif other.raised is None:
            self.moved_sites |= {s for s in self.traced.differing(other) if self.traced.is_condition(s)}

    def attempt(self, move: Move) -> None:
        """Run the method on inputs; keep them if it decides differently, without an error and with finite results."""
        if self.is_over():
            return
        self.tried += 1
        other = record(self.run.flat, move.tensors, self.traced)
        if other.raised is not None:
            if not other.is_endless and self._ends_in_a_guard(other):
                self._credit(other)
            return
        sites, lines = self.traced.differing(other), self.traced.flipped_lines(other)
        if not sites and not lines:
            return
        outputs = self.run(move.tensors)
        if outputs is None or not self._is_finite(outputs.tensors):
            return
        conditions = frozenset(s for s in sites if self.traced.is_condition(s))
        changed = conditions or lines
        outcomes = frozenset((site, other.reads[site][:_COMPARED_VALUES]) for site in conditions)
        kind = (outcomes, lines, frozenset() if changed else frozenset({*sites, move.family}))
        if not move.is_uniform:
            self._credit(other)
            for site in conditions:
                self.flipped_inputs.setdefault(site, move.tensors)
            self._similar[kind] = self._similar.get(kind, 0) + 1
            if self._similar[kind] > (_CASES_PER_DECISION if changed else 1):
                return
        if len(self.cases) < _CASES:
            label = f"{self._describe(conditions or sites, lines)}: {move.how}"
            case = Case(label, move.tensors, outputs.tensors, kind="decision", beyond=move.beyond)
            self.cases.append(case)
            self.varied |= frozenset() if move.is_uniform else sites

    def _credit(self, other: Decisions) -> None:
        """Record changed decisions; a number, which always differs, counts only if the method took another branch."""
        sites, lines = self.traced.differing(other), self.traced.flipped_lines(other)
        self.uneven_loops |= self.traced.uneven_loops(other)
        self.moved_sites |= {s for s in sites if lines or self.traced.is_condition(s)}
        self.flipped_lines |= lines
        for condition, values in other.conditions.items():
            self.conditions[condition] = self.conditions.get(condition, frozenset()) | values

    def _ends_in_a_guard(self, other: Decisions) -> bool:
        """Tell whether the traced call took another branch at the last line before the error."""
        return bool(other.branches) and other.branches[-1][0] in self.traced.flipped_lines(other)

    def _is_finite(self, outputs: Sequence[Tensor]) -> bool:
        known = self.run(self.request.tensors)
        if known is None or all(bool(torch.isfinite(t).all()) for t in outputs):
            return True
        return not all(bool(torch.isfinite(t).all()) for t in known.tensors)

    def _describe(self, sites: frozenset[Site], lines: frozenset[str]) -> str:
        first = min(sites, key=self.traced.sites().index, default=None)
        place = str(first) if first is not None else f"{min(lines)} (a condition on a size that depends on values)"
        return f"values that change the decision of the traced call at {place}"


def _has_equal_rows(tensors: Sequence[Tensor]) -> bool:
    return all(bool((t == t[:1]).all()) for t in tensors if t.is_floating_point() and t.dim())


def _along_gradient(run: Runner, request: Request, site: Site, searching: _Search) -> Iterator[Move]:
    """Yield inputs moved along the gradient of a condition's margin until the condition flips."""
    start: tuple[Tensor, ...] = request.tensors
    for _ in range(_ROUNDS):
        found = gradients(run.flat, start, site)
        if found is None or site not in searching.unflipped():
            return
        margin, grads = found
        square = sum(float(g.double().pow(2).sum()) for g in grads if g is not None)
        if not 0 < square < float("inf"):
            return
        seen = set(searching.traced.reads[site])
        signs = (-1,) if seen == {True} else (1,) if seen == {False} else (-1, 1)
        distance = max(abs(margin), 1e-3) / square
        for sign in signs:
            for step in _STEPS:
                tensors = tuple(
                    t if g is None else (t + sign * step * distance * g).contiguous()
                    for t, g in zip(start, grads, strict=True)
                )
                yield moved(request, tensors)
                if site not in searching.unflipped():
                    return
        start = tuple(
            t if g is None else (t + signs[-1] * _STEPS[1] * distance * g).contiguous()
            for t, g in zip(start, grads, strict=True)
        )


def _between(run: Runner, request: Request, site: Site, searching: _Search) -> Iterator[Move]:
    """Yield inputs ever closer to the point where a condition flips: a second condition may hold only near it."""
    near, far = request.tensors, searching.flipped_inputs.get(site)
    if far is None:
        return
    first = searching.traced.reads[site][0]
    for _ in range(_HALVINGS):
        middle = tuple(torch.lerp(a, b, 0.5) if a.is_floating_point() else b for a, b in zip(near, far, strict=True))
        yield moved(request, middle)
        read = record(run.flat, middle, searching.traced).reads.get(site)
        near, far = (middle, far) if read is not None and read[0] == first else (near, middle)
