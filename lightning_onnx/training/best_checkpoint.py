"""Finds the best or the last checkpoint of the newest run on disk, without its Trainer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_onnx.artifacts.index import INDEX, read_index
from lightning_onnx.errors import ConfigurationError, WeightsError
from lightning_onnx.module.weights.checkpoint_file import read_checkpoint

_DEPTH = 4
"""Levels below a directory: a logger's name, a version, ``checkpoints``, and one for a ``/`` in a metric's name."""


def find_checkpoint(which: str, directories: Iterable[Path]) -> Path:
    """Return a checkpoint of the run that wrote one last.

    Args:
        which: ``"best"`` or ``"last"``. The best one is what the state of ``ModelCheckpoint`` in the newest checkpoint
            says, else the best of ``index.json``, else the only one.
        directories: Where runs are.

    Raises:
        ConfigurationError: If there is none, or nothing says which one is the best.
    """
    places = list(dict.fromkeys(directories))
    found = sorted({path for place in places for path in _checkpoints(place)}, key=lambda path: path.stat().st_mtime)
    if not found:
        raise ConfigurationError(
            f"ckpt_path={which!r}: there is no checkpoint below {', '.join(map(str, places))}. Give the path of one."
        )
    newest = found[-1]
    if which == "last":
        return newest
    best = _by_state(newest) or _by_index(newest)
    if best is None and len(list(newest.parent.glob("*.ckpt"))) == 1:
        best = newest
    if best is None:
        raise ConfigurationError(
            f"ckpt_path='best': neither {newest} nor an {INDEX} says which checkpoint of its run is the best. Give the "
            "path of one, or ckpt_path='last'."
        )
    return best


def _checkpoints(place: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(place):
        if len(Path(folder).relative_to(place).parts) >= _DEPTH:
            inner.clear()
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if name.endswith(".ckpt"))


def _by_state(newest: Path) -> Path | None:
    """Return what the state of a ``ModelCheckpoint`` names, preferably of one that monitors a metric."""
    try:
        callbacks = read_checkpoint(str(newest)).get("callbacks")
    except WeightsError:
        return None
    states = [s for s in callbacks.values() if isinstance(s, Mapping)] if isinstance(callbacks, Mapping) else []
    states = [state for state in states if state.get("best_model_path")]
    for state in sorted(states, key=lambda state: state.get("monitor") is None):
        path = _existing(state["best_model_path"], newest)
        if path is not None:
            return path
    return None


def _by_index(newest: Path) -> Path | None:
    """Return the checkpoint of the best artifact; an index names only files, which are beside the newest one."""
    beside = {path.name: path for path in newest.parent.glob("*.ckpt")}
    for folder in (newest.parent, newest.parent.parent):
        for entry in read_index(str(folder / "onnx" / INDEX)):
            if entry.best and entry.checkpoint is not None:
                return beside.get(entry.checkpoint)
    return None


def _existing(named: Any, newest: Path) -> Path | None:
    """Return a checkpoint where it was written, or beside another one, as the run may have been moved."""
    places = (Path(str(named)), newest.parent / Path(str(named)).name)
    return next((place for place in places if os.path.exists(place)), None)  # False for a name that no file can have
