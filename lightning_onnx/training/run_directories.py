"""Where the runs of a configured Trainer keep their checkpoints, before there is a Trainer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger


def run_directories(trainer: Mapping[str, object], callbacks: object = ()) -> list[Path]:
    """Return the directories below which the checkpoints of its runs are.

    Args:
        trainer: The Trainer's options. Loggers and callbacks are objects, or mappings as in a configuration file.
        callbacks: Callbacks from elsewhere, in the same form.

    Example:
        >>> run_directories({"logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "runs"}}})
        [PosixPath('runs')]
    """
    found = list(_named("save_dir", trainer.get("logger")))
    if not found:  # else other experiments may be in Lightning's usual places
        root = Path(str(trainer.get("default_root_dir") or "."))
        found = [root / "lightning_logs", root / "checkpoints"]
    return [*found, *_named("dirpath", [trainer.get("callbacks"), callbacks])]


def _named(name: str, value: object) -> Iterator[Path]:
    """Yield the directories that a value, or what is in it, has under a name."""
    if isinstance(value, (list, tuple)):
        inner, own = list(value), None
    elif isinstance(value, Mapping):
        inner, own = list(value.values()), value.get(name)
    else:
        inner, own = [], getattr(value, name, None) if isinstance(value, (Callback, Logger)) else None
    if isinstance(own, (str, os.PathLike)):
        yield Path(own)
    for each in inner:
        yield from _named(name, each)
