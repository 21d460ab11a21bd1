"""Waits for the answer of a worker process: what may end them, and whether the process still computes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

_PROCESSES = Path("/proc")

_GROUP, _FIRST_TIME, _LAST_TIME = 2, 11, 14
"""Fields of ``/proc/<pid>/stat`` after the name: the process group, and the processor times of it and its children."""


class Wait:
    """A wait for one answer of a worker process.

    Args:
        group: The process group of the worker, which has its converters too.
        longest_answer: How long the longest earlier answer of this worker took, in seconds; None if there was none.
    """

    def __init__(self, group: int, longest_answer: float | None) -> None:
        self.longest_answer = longest_answer
        self._group = group
        self._started = time.monotonic()
        self._computed: int | None = None
        self._computed_at: float | None = None

    @property
    def seconds(self) -> float:
        """How long the wait has lasted so far, in seconds."""
        return time.monotonic() - self._started

    def idle_seconds(self) -> float:
        """Return for how long the worker has not computed, in seconds; 0 on systems that do not tell.

        It is counted from the first call of this method, so whoever asks must do so repeatedly.
        """
        computed, now = processor_time(self._group), time.monotonic()
        if computed is None or computed != self._computed or self._computed_at is None:
            self._computed, self._computed_at = computed, now
        return now - self._computed_at


Interrupt = Callable[[Wait], None]
"""Called five times a second during a wait; an exception that it raises ends the wait."""

_interrupt: ContextVar[Interrupt | None] = ContextVar("_interrupt", default=None)


@contextlib.contextmanager
def interruptible(interrupt: Interrupt) -> Iterator[None]:
    """Let a function end all waits for a worker in this block and this thread, instead of that of an outer block."""
    token = _interrupt.set(interrupt)
    try:
        yield
    finally:
        _interrupt.reset(token)


def ask_whether_to_go_on(wait: Wait) -> None:
    """Call the function that may end this wait, if there is one."""
    interrupt = _interrupt.get()
    if interrupt is not None:
        interrupt(wait)


def processor_time(group: int) -> int | None:
    """Return the processor time of a process group so far, in ticks of the clock; None on systems without ``/proc``."""
    if not _PROCESSES.joinpath("self", "stat").exists():
        return None
    total = 0
    for entry in os.scandir(_PROCESSES):
        with contextlib.suppress(OSError, IndexError, ValueError):  # a process that has just ended
            if entry.name.isdigit():
                # The name of the process stands in parentheses and may contain spaces.
                fields = (
                    Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                )
                if int(fields[_GROUP]) == group:
                    total += sum(map(int, fields[_FIRST_TIME : _LAST_TIME + 1]))
    return total
