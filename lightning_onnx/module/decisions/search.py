"""Inputs on which a method decides otherwise than in the traced call."""

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
"""Time for one search. What was not tried by then is left out, and the number of tries that is told is smaller."""

_ALIKE = 2
"""Cases of the same decisions: a single one may give the same on both ways of a branch by chance."""

_CASES = 24
"""Cases at most."""

_TOLD_APART = 4
"""Values of one condition by which cases are told apart; in a loop they may be many."""

_ROUNDS = 3
"""Gradients that are taken for one condition at most."""

_HALVINGS = 12
"""Steps in which the place is found between two inputs at which a condition turns."""

_STEPS = (1.5, 4.0, 16.0, 100.0)
"""How far to move along a gradient, as multiples of the distance at which a straight line reaches the condition."""


@dataclasses.dataclass(frozen=True)
class Searched:
    """What a search found.

    Attributes:
        traced: What the method decides in the traced call.
        cases: Inputs on which it decides otherwise, with what it returns.
        unmoved: Places at which no input was found that changes the decision. Where the method only raised on the other
            side, the decision counts as changed.
        flipped_lines: Lines at which a branch was seen to go another way.
        tried: Number of inputs that were tried.
    """

    traced: Decisions
    cases: tuple[Case, ...]
    unmoved: tuple[Site, ...]
    flipped_lines: frozenset[str]
    tried: int


_KNOWN: WeakKeyDictionary[Runner, list[tuple[tuple[Tensor, ...], Searched]]] = WeakKeyDictionary()


def search_once(run: Runner, request: Request, cases: Sequence[Case] = ()) -> Searched:
    """Search, once for each set of traced tensors: several engines ask for the same. Arguments as for ``search``."""
    known = _KNOWN.setdefault(run, [])
    for tensors, searched in known:
        if tensors is request.tensors:
            return searched
    found = search(run, request, cases)
    known.append((request.tensors, found))
    return found


def search(run: Runner, request: Request, cases: Sequence[Case] = ()) -> Searched:
    """Search for inputs at the traced sizes on which the method decides otherwise.

    Args:
        run: Runs the module.
        request: The traced inputs, and the observed calls.
        cases: Inputs on which the file is compared anyway, or that decided otherwise with other weights.
    """
    traced = record(run.flat, request.tensors)
    if not traced.reads and not traced.has_value_sizes:
        return Searched(traced, (), (), frozenset(), 0)
    again = record(run.flat, request.tensors)
    if traced.differing(again) or traced.flipped_lines(again):  # it is not the inputs that decide
        return Searched(traced, (), traced.sites(), frozenset(), 0)
    searching = _Search(run, request, traced)
    for case in cases:
        searching.compared_elsewhere(case)
    for move in moves(request):
        searching.attempt(move)
    for site in searching.unmoved():
        for move in _along_gradient(run, request, site, searching):
            searching.attempt(move)
    for site in searching.unmoved():
        for move in _between(run, request, site, searching):
            searching.attempt(move)
    return Searched(
        traced, tuple(searching.cases), searching.unmoved(), frozenset(searching.flipped_lines), searching.tried
    )


class _Search:
    """What was tried so far."""

    def __init__(self, run: Runner, request: Request, traced: Decisions) -> None:
        self.run = run
        self.request = request
        self.traced = traced
        self.cases: list[Case] = []
        self.moved_sites: set[Site] = set()
        self.flipped_lines: set[str] = set()
        self.conditions = dict(traced.conditions)
        self.turned: dict[Site, tuple[Tensor, ...]] = {}
        self.tried = 0
        self._alike: dict[tuple[frozenset[object], ...], int] = {}
        self._until = time.monotonic() + _SECONDS

    def unmoved(self) -> tuple[Site, ...]:
        one_sided = {site for (site, _), values in self.conditions.items() if len(values) < 2}
        return tuple(s for s in self.traced.sites() if s not in self.moved_sites or s in one_sided)

    def is_over(self) -> bool:
        return time.monotonic() > self._until

    def compared_elsewhere(self, case: Case) -> None:
        """Look at inputs on which the file is compared in any case."""
        if case.kind == "decision":
            self.attempt(Move("inputs that decided otherwise before", case.tensors, case.beyond))
            return
        if case.kind == "traced" or self.is_over():
            return
        self.tried += 1
        other = record(self.run.flat, case.tensors)
        same_sizes = all(a.shape == b.shape for a, b in zip(case.tensors, self.request.tensors, strict=True))
        if other.raised is None and same_sizes:
            self._credit(other)
        elif other.raised is None:
            self.moved_sites |= {s for s in self.traced.differing(other) if self.traced.is_condition(s)}

    def attempt(self, move: Move) -> None:
        """Run the method on inputs, and keep them if it decides otherwise, without an error and with finite results."""
        if self.is_over():
            return
        self.tried += 1
        other = record(self.run.flat, move.tensors)
        if other.raised is not None:
            if self._ends_in_a_guard(other):
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
        outcomes = frozenset((site, other.reads[site][:_TOLD_APART]) for site in conditions)
        kind = (outcomes, lines, frozenset() if changed else frozenset({*sites, move.family}))
        if not move.shows_little:
            self._credit(other)
            for site in conditions:
                self.turned.setdefault(site, move.tensors)
            self._alike[kind] = self._alike.get(kind, 0) + 1
            if self._alike[kind] > (_ALIKE if changed else 1):
                return
        if len(self.cases) < _CASES:
            label = f"{self._told(conditions or sites, lines)}: {move.how}"
            case = Case(label, move.tensors, outputs.tensors, kind="decision", beyond=move.beyond)
            self.cases.append(case)

    def _credit(self, other: Decisions) -> None:
        """Note where the decision changed; a number, which always differs, counts if the method went another way."""
        sites, lines = self.traced.differing(other), self.traced.flipped_lines(other)
        self.moved_sites |= {s for s in sites if lines or self.traced.is_condition(s)}
        self.flipped_lines |= lines
        for condition, values in other.conditions.items():
            self.conditions[condition] = self.conditions.get(condition, frozenset()) | values

    def _ends_in_a_guard(self, other: Decisions) -> bool:
        """Tell whether the last branch before an error is one that went another way in the traced call."""
        return bool(other.branches) and other.branches[-1][0] in self.traced.flipped_lines(other)

    def _is_finite(self, outputs: Sequence[Tensor]) -> bool:
        known = self.run(self.request.tensors)
        if known is None or all(bool(torch.isfinite(t).all()) for t in outputs):
            return True
        return not all(bool(torch.isfinite(t).all()) for t in known.tensors)

    def _told(self, sites: frozenset[Site], lines: frozenset[str]) -> str:
        first = min(sites, key=self.traced.sites().index, default=None)
        place = str(first) if first is not None else f"{min(lines)} (a condition on a size that depends on values)"
        return f"values that decide otherwise than the traced ones at {place}"


def _along_gradient(run: Runner, request: Request, site: Site, searching: _Search) -> Iterator[Move]:
    """Yield inputs moved towards the other side of a condition, as long as it is not reached."""
    start: tuple[Tensor, ...] = request.tensors
    for _ in range(_ROUNDS):
        found = gradients(run.flat, start, site)
        if found is None or site not in searching.unmoved():
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
                if site not in searching.unmoved():
                    return
        start = tuple(
            t if g is None else (t + signs[-1] * _STEPS[1] * distance * g).contiguous()
            for t, g in zip(start, grads, strict=True)
        )


def _between(run: Runner, request: Request, site: Site, searching: _Search) -> Iterator[Move]:
    """Yield inputs ever closer to where a condition turns: another condition beside it may hold only near by."""
    near, far = request.tensors, searching.turned.get(site)
    if far is None:
        return
    first = searching.traced.reads[site][0]
    for _ in range(_HALVINGS):
        middle = tuple(torch.lerp(a, b, 0.5) if a.is_floating_point() else b for a, b in zip(near, far, strict=True))
        yield moved(request, middle)
        read = record(run.flat, middle).reads.get(site)
        near, far = (middle, far) if read is not None and read[0] == first else (near, middle)
