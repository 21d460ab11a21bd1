"""All artifacts of one dirpath: where it lies, what they are called."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.weights import Source


def default_dirpath(loggers: Sequence[Any], default_root_dir: str) -> str:
    """Return the directory beside ``ModelCheckpoint``'s own default: one for each run.

    ``trainer.log_dir`` would be one for all runs with loggers such as W&B's and MLflow's.
    """
    if not loggers:
        return os.path.join(default_root_dir, "onnx")
    first = loggers[0]
    version = first.version if isinstance(first.version, str) else f"version_{first.version}"
    return os.path.join(first.save_dir or default_root_dir, str(first.name), version, "onnx")


def local(dirpath: str, what: str) -> str:
    """Return a directory of this machine's file system, ``~`` and variables resolved.

    Raises:
        ConfigurationError: If it is a URL of another file system.
    """
    path = dirpath.removeprefix("file://")
    if "://" in path:
        raise ConfigurationError(
            f"{what} is {dirpath!r}, and artifacts are written to local directories only. Set dirpath to one; loggers "
            "and trackers take the artifact from there."
        )
    return os.path.expandvars(os.path.expanduser(path))


def check_filename(filename: str | None) -> None:
    """Raise where a name cannot be that of a directory.

    Raises:
        ConfigurationError: If it is empty, has a separator, or is hidden.
    """
    outside = re.sub(r"\{[^}]*\}", "", filename) if isinstance(filename, str) else ""  # a metric may be val/loss
    if filename is not None and (not isinstance(filename, str) or not filename or re.search(r"[/\\]|^\.", outside)):
        raise ConfigurationError(
            f"filename={filename!r} is not the name of a directory. Give one such as '{{epoch}}-{{val_loss:.2f}}'."
        )


def artifact_name(filename: str | None, source: Source, metrics: Mapping[str, Any]) -> str:
    """Return the name of an artifact: the template filled as ``ModelCheckpoint`` does, else the checkpoint's stem."""
    if filename is None:
        name = Path(source.checkpoint).stem if source.checkpoint else f"epoch={source.epoch}-step={source.global_step}"
    else:
        values = {**metrics, "epoch": source.epoch or 0, "step": source.global_step or 0}
        name = Path(ModelCheckpoint(filename=filename).format_checkpoint_name(values)).with_suffix("").as_posix()
    return name.replace("/", "_").lstrip(".") or "model"


def free_directory(dirpath: Path, name: str) -> Path:
    """Return a directory of that name which does not exist yet; later ones get ``-v1``, ``-v2`` … as checkpoints do."""
    for version in itertools.count(1):
        candidate = dirpath / (name if version == 1 else f"{name}-v{version - 1}")
        if not candidate.exists():
            return candidate
    raise AssertionError


def remove(directory: Path) -> None:
    """Remove an artifact: hidden by a rename first, so that nobody sees half of it."""
    hidden = directory.with_name(f".onnx-staging-{os.getpid()}_{directory.stat().st_ino}")
    directory.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)
