"""Checkpoints that were not exported, and why; a worse one never takes the place of the best."""

from __future__ import annotations

import os

from lightning_onnx.artifacts.store import Store
from lightning_onnx.errors import WeightsError, first_line
from lightning_onnx.training.checkpoint_follower import CheckpointFollower, is_missing
from lightning_onnx.training.fit_log import FitLog
from lightning_onnx.training.options import CallbackConfig


class Unexported:
    """The checkpoints of one fit that were not exported.

    Args:
        log: Records the failures.
    """

    def __init__(self, log: FitLog) -> None:
        self.log = log
        self._reasons: dict[str, str] = {}

    def record(self, key: str, error: Exception, what: str = "failed") -> None:
        """Record that an export failed.

        Args:
            key: Path of the checkpoint; empty for the live weights.
            error: Why it failed.
            what: What happened to it.
        """
        self._reasons[key] = first_line(error)
        self.log.record(error, f"export of {os.path.basename(key) or 'the live weights'} {what}")

    def look_for_deleted(self, follower: CheckpointFollower | None, store: Store) -> None:
        """At the end, record the checkpoints that the ModelCheckpoint keeps and that another program deleted.

        Args:
            follower: Follows the checkpoints; None if none are followed.
            store: The artifacts that were made.
        """
        for path in follower.kept if follower is not None else ():
            if path not in store.artifacts and path not in self._reasons and is_missing(path):
                name = os.path.basename(path)
                problem = f"{name!r} was deleted before it was exported. Keep checkpoints until training ends."
                self.record(path, WeightsError(problem))

    def refuse(self, best: str, options: CallbackConfig) -> None:
        """Say why the run has no best artifact, and that no other takes its place.

        Args:
            best: Path of the best checkpoint; empty if there is none.
            options: The callback's own options.
        """
        if not best:
            return
        done = "registered" if options.register_as else "published"
        place = " in its place" if options.log_artifacts == "all" else ""
        reason = self._reasons.get(best, "it was not exported").rstrip(".")
        what = f"the best checkpoint {os.path.basename(best)!r} could not be exported"
        self.log.refuse(what, reason, f"nothing was {done}{place}")
