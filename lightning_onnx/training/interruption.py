"""Ends exports when Ctrl-C or SIGTERM ends the run, also while a worker process hangs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_onnx.runtimes.worker.channel import interruptible

GRACE = 3.0
"""Seconds that a worker process may take for one answer after an interrupt."""


class Interruption:
    """Whether the run was interrupted, and an export with it; shared with the thread that exports in the background."""

    def __init__(self) -> None:
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
    def ends(self, trainer: Trainer) -> Iterator[None]:
        """End the block's waits for a worker process that gives no answer after an interrupt; may run in any thread.

        Args:
            trainer: The trainer, which only notes SIGTERM.

        Raises:
            SIGTERMException: If the worker process gives no answer.
            KeyboardInterrupt: If it arrives in this block; it is noted.
        """

        def check(waited: float) -> None:
            if waited > GRACE and (trainer.received_sigterm or self._has_arrived):
                raise SIGTERMException

        try:
            with interruptible(check):
                yield
        except (KeyboardInterrupt, SystemExit):
            self._has_arrived = self._has_ended = True
            raise
