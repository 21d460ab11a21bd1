"""Where the seconds of an export go: each moment counts for the innermost stage that is measured."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Literal

Stage = Literal["tracing", "running the module", "running the file", "other"]

Clock = Callable[[], float]
"""Returns a time in seconds."""


class Profile:
    """The seconds of one export by stage.

    Args:
        clock: Tells the time.

    Example:
        >>> profile = Profile(iter([0.0, 1.0, 4.0, 5.0, 9.0, 9.0]).__next__)
        >>> with profile.stage("tracing"), profile.stage("running the module"):
        ...     pass
        >>> profile.seconds
        {'tracing': 7.0, 'running the module': 1.0, 'other': 1.0}
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._spent: dict[Stage, float] = {}
        self._open: list[Stage] = ["other"]
        self._since = clock()

    @contextlib.contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Count the block for a stage.

        Args:
            name: The stage.
        """
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    @property
    def seconds(self) -> Mapping[Stage, float]:
        """The seconds so far, by stage; what no stage measured comes last."""
        self._count()
        return dict(sorted(self._spent.items(), key=lambda item: item[0] == "other"))

    def __str__(self) -> str:
        return ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items())

    def _count(self) -> None:
        now = self._clock()
        self._spent[self._open[-1]] = self._spent.get(self._open[-1], 0.0) + now - self._since
        self._since = now


_current: ContextVar[Profile | None] = ContextVar("_current", default=None)


@contextlib.contextmanager
def profiled(profile: Profile | None = None) -> Iterator[Profile]:
    """Measure the block; within another such block, its profile goes on.

    Args:
        profile: The profile to use unless there is one; default: a new one.
    """
    outer = _current.get()
    if outer is not None:
        yield outer
        return
    own = profile or Profile()
    token = _current.set(own)
    try:
        yield own
    finally:
        _current.reset(token)


@contextlib.contextmanager
def measured(name: Stage) -> Iterator[None]:
    """Count the block for a stage of the running profile, if there is one.

    Args:
        name: The stage.
    """
    profile = _current.get()
    if profile is None:
        yield
        return
    with profile.stage(name):
        yield
