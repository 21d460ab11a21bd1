"""Ends exports when Ctrl-C or SIGTERM ends the run, also while a worker process hangs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_onnx.runtimes.worker.waiting import Wait, interruptible

GRACE = 3.0
"""Seconds that a worker process may take for one answer after an interrupt, or not compute while it is waited for."""

UNKNOWN = 30.0
"""Seconds that a worker process which computes may take for its first answer, where the export was asked for."""

_FACTOR = 4
"""An answer may take this many times as long as the longest earlier one, where the export was asked for."""


class Interruption:
    """Whether the run was interrupted, and an export with it; shared with the thread that exports in the background.

    Args:
        is_export_wanted: Whether the user asked for exports after an interrupt (``on_exception=True``). A worker
            process that computes may take longer then: it is slow, but does not hang.
    """

    def __init__(self, *, is_export_wanted: bool = False) -> None:
        self._is_export_wanted = is_export_wanted
        self._has_arrived = False  # no Event: spawned ranks get a pickled callback
        self._has_ended = False

    @property
    def has_ended_exports(self) -> bool:
        """Whether an export was cut off; none should be started then."""
        return self._has_ended

    def arrive(self) -> None:
        """Note that the run was interrupted: from now on, no thread waits long for a worker process."""
        self._has_arrived = True

    @contextlib.contextmanager
    def ends(self, trainer: Trainer, *, is_preflight: bool = False) -> Iterator[None]:
        """End the block's waits for a worker process that gives no answer after an interrupt; may run in any thread.

        Args:
            trainer: The trainer, which only notes SIGTERM.
            is_preflight: Whether the block makes no artifact, so that nobody wants it after an interrupt.

        Raises:
            SIGTERMException: If the worker process gives no answer.
            KeyboardInterrupt: If it arrives in this block; it is noted.
        """

        def check(wait: Wait) -> None:
            if not (trainer.received_sigterm or self._has_arrived):
                return
            if self._is_export_wanted and not is_preflight:
                hangs = wait.idle_seconds() > GRACE or wait.seconds > _patience(wait)
            else:
                hangs = wait.seconds > GRACE
            if hangs:
                raise SIGTERMException

        try:
            with interruptible(check):
                yield
        except (KeyboardInterrupt, SystemExit):
            self._has_arrived = self._has_ended = True
            raise


def _patience(wait: Wait) -> float:
    """Return how long a process that computes may take for an answer, in seconds: a dead loop computes too."""
    return UNKNOWN if wait.longest_answer is None else max(GRACE, _FACTOR * wait.longest_answer)
