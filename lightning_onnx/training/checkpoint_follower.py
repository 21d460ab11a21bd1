"""Finds the checkpoints that a ModelCheckpoint saved, replaced and removed since the last look.

No hook reports a saved checkpoint: ``on_save_checkpoint`` is not called when only weights are saved, and it runs before
the file exists. So the fields of the ModelCheckpoint are compared, and if they changed, the files.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from typing import Any, Protocol

import fsspec
from lightning.pytorch import Trainer
from torch import Tensor

WRITER_LIMIT = 60.0
"""Seconds to wait at the end of fit for a checkpoint that is written asynchronously."""


class CheckpointCallback(Protocol):
    """A ModelCheckpoint, recognized by its attributes instead of its class: Lightning has two packages.

    Attributes:
        best_model_path: Path of the best checkpoint; empty if there is none yet.
        best_model_score: The metric of the best checkpoint; None if no metric is monitored.
        monitor: Name of the monitored metric; None if none is.
    """

    best_model_path: str
    best_model_score: Tensor | None
    monitor: str | None


def find_checkpoint_callback(trainer: Trainer, must_monitor: bool) -> CheckpointCallback | None:
    """Return the Trainer's first ModelCheckpoint that monitors a metric; None if there is none.

    Args:
        trainer: The trainer.
        must_monitor: Whether to ignore a ModelCheckpoint without a metric.
    """
    found: list[Any] = [c for c in trainer.checkpoint_callbacks if hasattr(c, "best_model_path")]
    monitoring = [c for c in found if getattr(c, "monitor", None)]
    return next(iter(monitoring or ([] if must_monitor else found)), None)


@dataclasses.dataclass(frozen=True)
class Saved:
    """A saved checkpoint.

    Attributes:
        path: Path or URL.
        monitor: Name of the monitored metric, or None.
        score: Value of that metric; None if there is none or it is not finite.
    """

    path: str
    monitor: str | None
    score: float | None

    @property
    def name(self) -> str:
        """The file name."""
        return os.path.basename(self.path)


class CheckpointFollower:
    """Follows one ModelCheckpoint, from either Lightning package.

    Args:
        checkpoint: The ModelCheckpoint.
    """

    def __init__(self, checkpoint: CheckpointCallback) -> None:
        self.checkpoint = checkpoint
        self._marker: _Marker | None = None
        self._stamps: dict[str, str] = {}
        self._awaited: str | None = None

    @property
    def best(self) -> str:
        """Path of the best checkpoint; empty if there is none yet."""
        return str(self.checkpoint.best_model_path or "")

    @property
    def kept(self) -> list[str]:
        """Paths of all kept checkpoints, best first."""
        others = [*getattr(self.checkpoint, "best_k_models", {}), getattr(self.checkpoint, "last_model_path", "")]
        if getattr(self.checkpoint, "save_top_k", None) == -1 and self.checkpoint.monitor is None:
            others += self._stamps  # it keeps all files and remembers only the last one
        found = [self.best, *others]
        return list(dict.fromkeys(str(path) for path in found if path))

    def has_changed(self) -> bool:
        """Return whether there may be something new. Takes microseconds, because it runs at every step."""
        return self._awaited is not None or self._mark() != self._marker

    def look(self) -> list[Saved]:
        """Return the checkpoints saved since the last look, the best first and ``last.ckpt`` last."""
        marker = self._mark()
        if self._marker is None or marker.last_save != self._marker.last_save:
            self._awaited = marker.last_save[1]
        self._marker = marker
        kept = self.kept
        self._stamps = {path: stamp for path, stamp in self._stamps.items() if path in kept}
        saved = []
        for path in kept:
            stamp = _stamp(path)
            if stamp is not None and stamp != self._stamps.get(path):
                self._stamps[path] = stamp
                saved.append(self.describe(path))
        if self._awaited not in kept or any(s.path == self._awaited for s in saved):
            self._awaited = None  # an asynchronous writer may be slow: every step looks until the file exists
        return saved

    def look_at_last(self, trainer: Trainer) -> list[Saved]:
        """Return the checkpoints saved since the last look, after an asynchronous writer has written the last one.

        Args:
            trainer: The trainer, whose strategy has the writer.
        """
        saved = self.look()
        deadline = time.monotonic() + WRITER_LIMIT
        # By name, because there are two packages of Lightning.
        writes_later = any(c.__name__ == "AsyncCheckpointIO" for c in type(trainer.strategy.checkpoint_io).__mro__)
        while writes_later and self._awaited is not None and time.monotonic() < deadline:
            time.sleep(0.02)
            saved += [new for new in self.look() if new not in saved]
        return saved

    def forget(self, path: str) -> None:
        """Make the next look return this checkpoint again."""
        self._stamps.pop(path, None)
        self._marker = None

    def describe(self, path: str) -> Saved:
        """Return a kept checkpoint with its score."""
        score = getattr(self.checkpoint, "best_k_models", {}).get(path)
        if score is None and path == self.best:
            score = self.checkpoint.best_model_score
        number = None if score is None else float(score)
        return Saved(path, self.checkpoint.monitor, number if number is not None and math.isfinite(number) else None)

    def _mark(self) -> _Marker:
        c = self.checkpoint
        return _Marker(
            (getattr(c, "_last_global_step_saved", None), getattr(c, "_last_checkpoint_saved", None)),
            c.best_model_path,
            getattr(c, "last_model_path", None),
        )


@dataclasses.dataclass(frozen=True)
class _Marker:
    """The fields of a ModelCheckpoint that change with every save.

    Attributes:
        last_save: Step and path of the last save, from private fields: no public field changes if the same file is
            written again.
        best: Path of the best checkpoint.
        last: Path of ``last.ckpt``.
    """

    last_save: tuple[int | None, str | None]
    best: str
    last: str | None


def is_missing(path: str) -> bool:
    """Return whether there is no checkpoint at a path or URL."""
    return _stamp(path) is None


def _stamp(path: str) -> str | None:
    """Return a string that differs between versions of a file; None if the file does not exist yet."""
    try:
        system, plain = fsspec.core.url_to_fs(path)
        return str(system.ukey(plain))
    except (OSError, ValueError):
        return None
