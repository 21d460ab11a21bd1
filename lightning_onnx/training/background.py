"""Makes artifacts in a thread of its own while the training goes on."""

from __future__ import annotations

import concurrent.futures

from lightning.pytorch import Trainer

from lightning_onnx.training.interruption import Interruption
from lightning_onnx.training.jobs import Finished, Job, Maker
from lightning_onnx.training.planners import Plans


class Background:
    """One thread, which works on one list of jobs at a time.

    Args:
        maker: Makes the artifacts.
        interruption: Ends the work where an interrupt finds that a worker process hangs.
    """

    def __init__(self, maker: Maker, interruption: Interruption) -> None:
        self._maker = maker
        self._interruption = interruption
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._running: concurrent.futures.Future[list[Finished]] | None = None

    @property
    def has_finished(self) -> bool:
        """Whether there are results to take."""
        return self._running is not None and self._running.done()

    def start(self, jobs: list[Job], plans: Plans, trainer: Trainer) -> None:
        """Start on jobs; the results of the last ones must have been taken."""
        self._pool = self._pool or concurrent.futures.ThreadPoolExecutor(1, "lightning-onnx")
        self._running = self._pool.submit(self._make, jobs, plans, trainer)

    def take(self) -> list[Finished]:
        """Wait for the results of the last jobs, and return them; none if nothing was started.

        Raises:
            SIGTERMException: If an interrupt of the run ended the work.
        """
        if self._running is None:
            return []
        concurrent.futures.wait([self._running])
        running, self._running = self._running, None
        return running.result()

    def close(self) -> None:
        """Stop the thread."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def _make(self, jobs: list[Job], plans: Plans, trainer: Trainer) -> list[Finished]:
        with self._interruption.ends(trainer):
            return [self._maker.make_concurrently(job, plans) for job in jobs]
