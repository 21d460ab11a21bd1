"""Removes or widens a limit of a size: by another traced size, or by joining several graphs."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping

from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import BATCH, SizeRange
from lightning_onnx.module.runner import Runner
from lightning_onnx.pipeline.candidate import Candidate
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.limits import Limit, explains, find_limits
from lightning_onnx.tracing.base import Engine
from lightning_onnx.tracing.conditions import SizeCondition
from lightning_onnx.tracing.piecewise import MOST_PIECES, Piece, Piecewise

log = logging.getLogger(__name__)

Attempt = Callable[[Engine, Request], Candidate]
"""Traces with an engine, and compares the graph with the module; raises ``EngineError``."""


@dataclasses.dataclass(frozen=True)
class Limited:
    """A graph with the limits of its dims; no limits if it is right at all sizes that were tried."""

    candidate: Candidate
    limits: Mapping[str, Limit] = dataclasses.field(default_factory=dict)

    @property
    def ranges(self) -> dict[str, SizeRange]:
        """For each limited dim, the sizes at which the graph is right."""
        return {dim: limit.sizes for dim, limit in self.limits.items()}

    @property
    def has_holes(self) -> bool:
        """Whether sizes must be multiples of a number."""
        return any(sizes.step > 1 for sizes in self.ranges.values())

    @property
    def unseen(self) -> tuple[str, ...]:
        """The dims for which no observed size is within the limits."""
        seen = self.candidate.graph.request.seen
        return tuple(
            dim for dim, sizes in self.ranges.items() if seen.get(dim) and not any(n in sizes for n in seen[dim])
        )

    @property
    def narrowness(self) -> tuple[int, int, int, int, int, int, int]:
        """Sort key for limited graphs; smaller is better.

        Dims without an observed size come first, then observed sizes, except for the batch: a file often serves smaller
        batches than those of training.
        """
        seen = self.candidate.graph.request.seen
        missed = sum(n not in sizes for dim, sizes in self.ranges.items() if dim != BATCH for n in seen.get(dim, ()))
        ranges = self.ranges.values()
        steps = max((sizes.step for sizes in ranges), default=1)
        widths = [sizes.max - sizes.min for sizes in ranges if sizes.max is not None]
        smallest = max((sizes.min for sizes in ranges), default=1)
        return len(self.unseen), missed, steps, len(self.limits), len(widths), -min(widths, default=0), smallest

    @property
    def pieces(self) -> int:
        """How many graphs are joined."""
        engine = self.candidate.engine
        return len(engine.pieces) if isinstance(engine, Piecewise) else 1

    def better(self, other: Limited) -> Limited:
        """Return the one with wider limits; that has to be twice as wide where more graphs are joined for it."""
        (*kinds, width, _), (*other_kinds, other_width, _) = self.narrowness, other.narrowness
        if self.pieces < other.pieces and kinds == other_kinds and other_width > 2 * width:
            return self
        return min(self, other, key=lambda one: one.narrowness)


def limited(candidate: Candidate, run: Runner, config: ExportConfig) -> Limited | None:
    """Return a graph with its limits; None if these do not explain all its mismatches."""
    if candidate.wrong_as_traced or candidate.constant_dims:
        return None
    limits = find_limits(candidate, run, config)
    return Limited(candidate, limits) if explains(limits, candidate) else None


def widest(found: Limited, attempt: Attempt, run: Runner, config: ExportConfig) -> Limited:
    """Trace beyond a limit until the graphs, joined, are right at all sizes.

    Args:
        found: A graph; it is returned as it is if it has no limit, has holes or is joined, or if several dims have a
            limit.
        attempt: Traces and compares.
        run: Runs the module.
        config: The options.

    Returns:
        The joined graphs, or else the one with the fewest and widest limits.
    """
    wider = _joined_beyond(found, attempt, run, config)
    return _traced_as_observed(wider, attempt, run, config) if wider.unseen else wider


def _joined_beyond(found: Limited, attempt: Attempt, run: Runner, config: ExportConfig) -> Limited:
    if len(found.limits) != 1 or found.has_holes or isinstance(found.candidate.engine, Piecewise):
        return found
    ((dim, limit),) = found.limits.items()
    engine, request = found.candidate.engine, found.candidate.graph.request
    traced = request.sizes(request.tensors)
    traced_with = functools.partial(_traced_with, request=request, attempt=attempt, run=run, config=config)
    best, parts = found, {traced[dim]: limit}
    while (beyond := parts[max(parts)].above or parts[min(parts)].below) is not None:
        size = request.sizes(beyond.case.tensors)[dim]
        if size < 2 or size in parts or len(parts) == MOST_PIECES:  # torch treats size 1 as a constant
            return best
        part = traced_with(engine, {dim: size})
        if part is None or part.has_holes or set(part.limits) - {dim}:
            return best
        best = min(best, part, key=lambda one: one.narrowness)
        if not part.limits:
            return part
        parts[size] = part.limits[dim]
    joined = traced_with(Piecewise(engine, _pieces(dim, parts, traced)), {})
    return best if joined is None or joined.limits else joined


def _traced_as_observed(found: Limited, attempt: Attempt, run: Runner, config: ExportConfig) -> Limited:
    """Trace at the size of the observed call where the limits of a graph leave out all observed sizes of a dim."""
    engine, request = found.candidate.engine, found.candidate.graph.request
    if isinstance(engine, Piecewise):
        engine = engine.engine
    observed = request.sizes(request.sample.tensors)
    sizes = {dim: observed[dim] for dim in found.unseen}
    again = _traced_with(engine, sizes, request=request, attempt=attempt, run=run, config=config)
    return found if again is None else min(found, again, key=lambda one: one.narrowness)


def _traced_with(
    engine: Engine, sizes: Mapping[str, int], *, request: Request, attempt: Attempt, run: Runner, config: ExportConfig
) -> Limited | None:
    """Trace with some dims at other sizes; None if the engine refuses them, or limits do not explain all mismatches."""
    at_sizes = dataclasses.replace(request, tensors=request.resized({**request.sizes(request.tensors), **sizes}))
    try:
        return limited(attempt(engine, at_sizes), run, config)
    except EngineError as error:
        log.debug("engine %s, traced with %s: %s", engine.name, sizes, error)
        return None


def _pieces(dim: str, parts: Mapping[int, Limit], traced: Mapping[str, int]) -> list[Piece]:
    """Return the pieces in order; each is taken above the limit of the one before."""
    sizes = sorted(parts)
    lasts = [None, *(parts[size].sizes.max for size in sizes[:-1])]
    return [
        Piece({**traced, dim: size}, None if last is None else SizeCondition(f"n <= {last}", (("n", dim),)))
        for size, last in zip(sizes, lasts, strict=True)
    ]
