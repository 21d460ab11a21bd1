"""Traces separate graphs for sizes at which a method behaves differently, found from the conditions torch assumed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.request import Request
from lightning_onnx.pipeline.candidate import Candidate
from lightning_onnx.tracing.base import Engine
from lightning_onnx.tracing.conditions import SizeCondition, only_at
from lightning_onnx.tracing.piecewise import MOST_PIECES, Piece, Piecewise

log = logging.getLogger(__name__)


def decides_by_sizes(candidate: Candidate) -> bool:
    """Tell whether decisions of the method based on sizes explain all mismatches, so that no engine can do better."""
    if candidate.wrong_as_traced or candidate.constant_dims or not candidate.wrong:
        return False
    wrong = [candidate.graph.request.sizes(case.tensors) for case in candidate.wrong_cases]
    return all(any(not c.holds(sizes) for c in candidate.conditions) for sizes in wrong)


def split(candidate: Candidate, attempt: Callable[[Engine, Request], Candidate]) -> Iterator[Candidate]:
    """Trace again at a size that breaks an assumed condition, and join the graphs.

    Args:
        candidate: A graph that is right as traced, and wrong at other sizes.
        attempt: Traces with an engine and compares; raises ``EngineError``.

    Yields:
        Joined graphs, each with one more piece than the previous one, up to one that is right at all sizes.
    """
    request = candidate.graph.request
    traced = request.sizes(request.tensors)
    pieces, found, conditions = [Piece(traced)], candidate, candidate.conditions
    while len(pieces) < MOST_PIECES and not (found.wrong_as_traced or found.constant_dims):
        wrong = [request.sizes(case.tensors) for case in found.wrong_cases]
        wrong.sort(key=lambda sizes: sum(abs(sizes[dim] - traced[dim]) for dim in traced))
        assumed = [c for c in conditions if c.holds(traced) and c not in {piece.unless for piece in pieces}]
        unless = _explaining(assumed, wrong)
        if unless is None:
            return
        sizes = next(sizes for sizes in wrong if not unless.holds(sizes))
        constant = only_at(unless, sizes)
        at = {**traced, **{dim: sizes[dim] for dim in unless.names}}
        pieces.append(Piece(at, unless, () if constant is None else (constant,)))
        try:
            found = attempt(Piecewise(candidate.engine, pieces), request)
        except EngineError as error:
            log.debug("graphs joined by %s: %s", unless.expression, error)
            return
        conditions = tuple(dict.fromkeys((*conditions, *found.conditions)))
        yield found
        if found.is_right_at_all_sizes:
            return


def _explaining(conditions: Sequence[SizeCondition], wrong: Sequence[Mapping[str, int]]) -> SizeCondition | None:
    """Return the condition that is broken at most of the wrong sizes of a graph; the shortest one if there are several.

    Args:
        conditions: The conditions.
        wrong: The wrong sizes; a condition that holds at the first of them is ignored.
    """
    broken = {c: sum(not c.holds(sizes) for sizes in wrong) for c in conditions if wrong and not c.holds(wrong[0])}
    return max(broken, key=lambda c: (broken[c], -len(c.expression)), default=None)
