"""How long the search for a graph may hold up training: what is proven by then is taken."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

from lightning_onnx.notices import warn
from lightning_onnx.profile import Clock

LEAST_SECONDS = 60.0
"""A search may always take this long, in seconds."""

TIMES = 20
"""It may take this many times as long as the longest trace so far."""

ENDED = (
    "the search for a graph took longer than a minute and 20 times as long as one trace, so it was ended: it did not "
    "look for wider limits of sizes or more dynamic dims than those of the best graph by then"
)
"""The note of a search that was ended."""


class SearchLimit:
    """The time limit of one search.

    Args:
        clock: Tells the time in seconds; None for no limit.

    Example:
        >>> limit = SearchLimit(iter([0.0, 1.0, 6.0, 99.0, 101.0, 102.0]).__next__)
        >>> with limit.of_trace():  # takes five seconds
        ...     pass
        >>> limit.is_over()
        False
    """

    def __init__(self, clock: Clock | None = time.monotonic) -> None:
        self._clock = clock
        self._started = 0.0 if clock is None else clock()
        self._trace: float | None = None
        self.was_over = False

    @contextlib.contextmanager
    def of_trace(self) -> Iterator[None]:
        """Measure a trace; the longest one counts, because a refusal may be quick."""
        if self._clock is None:
            yield
            return
        started = self._clock()
        try:
            yield
        finally:
            self._trace = max(self._trace or 0.0, self._clock() - started)

    def is_over(self) -> bool:
        """Tell whether the search has taken too long; the first time, this is a warning."""
        if self._clock is None or self.was_over:
            return self.was_over
        limit = math.inf if self._trace is None else max(LEAST_SECONDS, TIMES * self._trace)
        self.was_over = self._clock() - self._started > limit
        if self.was_over:
            warn(f"ONNX export: preflight has taken {limit:.0f} s, and takes the best graph that it has found by now")
        return self.was_over
