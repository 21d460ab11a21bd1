"""What the followed ModelCheckpoint has saved, replaced and removed since the last look.

A plain callback is not told of a saved checkpoint: ``on_save_checkpoint`` is not called for weights alone, and runs
before the file is there. So the callback's own fields are compared, and the files' stamps where these have changed.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import fsspec


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint that was saved.

    Attributes:
        path: Its path or URL.
        monitor: Name of the metric that chose it, None where none did.
        score: Its value, None where it has none or is not finite.
    """

    path: str
    monitor: str | None
    score: float | None

    @property
    def name(self) -> str:
        """Its file name."""
        return os.path.basename(self.path)


class CheckpointFollower:
    """Follows one ModelCheckpoint, of either package of Lightning.

    Args:
        checkpoint: What to follow; known by what it has (``best_model_path`` and its kin), not by its class.
    """

    def __init__(self, checkpoint: Any) -> None:
        self.checkpoint = checkpoint
        self._marker: Any = None
        self._stamps: dict[str, str] = {}
        self._awaited: str | None = None

    @property
    def best(self) -> str:
        """Path of the best checkpoint; empty while there is none."""
        return str(self.checkpoint.best_model_path or "")

    @property
    def kept(self) -> list[str]:
        """Paths of all checkpoints that it keeps, the best first."""
        others = [*getattr(self.checkpoint, "best_k_models", {}), getattr(self.checkpoint, "last_model_path", "")]
        if getattr(self.checkpoint, "save_top_k", None) == -1 and self.checkpoint.monitor is None:
            others += self._stamps  # it keeps all and remembers the last one only
        found = [self.best, *others]
        return list(dict.fromkeys(str(path) for path in found if path))

    def moved(self) -> bool:
        """Tell whether there may be something new; costs microseconds, for every step."""
        return self._awaited is not None or self._mark() != self._marker

    def look(self) -> list[Saved]:
        """Return what was saved since the last look, ``last`` after the others."""
        marker = self._mark()
        if self._marker is None or marker[:2] != self._marker[:2]:
            self._awaited = marker[1]
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
            self._awaited = None  # an asynchronous writer may take its time; until then every step looks
        return saved

    def forget(self, path: str) -> None:
        """Have the next look tell of a checkpoint again."""
        self._stamps.pop(path, None)
        self._marker = None

    def describe(self, path: str) -> Saved:
        """Return a kept checkpoint with its score."""
        score = getattr(self.checkpoint, "best_k_models", {}).get(path)
        if score is None and path == self.best:
            score = self.checkpoint.best_model_score
        number = None if score is None else float(score)
        return Saved(path, self.checkpoint.monitor, number if number is not None and math.isfinite(number) else None)

    def _mark(self) -> Any:
        """What changes with every save. The two private fields alone tell of a file that is written again."""
        c = self.checkpoint
        return (
            getattr(c, "_last_global_step_saved", None),
            getattr(c, "_last_checkpoint_saved", None),
            c.best_model_path,
            getattr(c, "last_model_path", None),
        )


def _stamp(path: str) -> str | None:
    """What tells one version of a file from the next; None while it is not there."""
    try:
        system, plain = fsspec.core.url_to_fs(path)
        return str(system.ukey(plain))
    except (OSError, ValueError):
        return None
