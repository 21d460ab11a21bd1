"""Where artifacts of a run lie and what they are called."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.weights.source import Source


def default_dirpath(loggers: Sequence[Any], default_root_dir: str) -> str:
    """Return the directory beside ``ModelCheckpoint``'s own default: one for each run.

    ``trainer.log_dir`` would be one for all runs with loggers such as W&B's and MLflow's.
    """
    if not loggers:
        return os.path.join(default_root_dir, "onnx")
    first = loggers[0]
    version = first.version if isinstance(first.version, str) else f"version_{first.version}"
    return os.path.join(first.save_dir or default_root_dir, str(first.name), version, "onnx")


def resolve(dirpath: str) -> str:
    """Return a directory with ``~`` and variables resolved; URLs stay.

    Raises:
        ConfigurationError: If fsspec does not know the URL's protocol.
    """
    path = dirpath.removeprefix("file://")
    if "://" not in path:
        return os.path.abspath(os.path.expandvars(os.path.expanduser(path)))
    try:
        fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"dirpath={dirpath!r} cannot be reached: {error}. Install the package that fsspec names, or choose a "
            "directory of this machine."
        ) from error
    return path.rstrip("/")


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
        stem = Path(source.checkpoint).name.removesuffix(".ckpt") if source.checkpoint else None
        name = stem or f"epoch={source.epoch}-step={source.global_step}"
    else:
        values = {**metrics, "epoch": source.epoch or 0, "step": source.global_step or 0}
        name = Path(ModelCheckpoint(filename=filename).format_checkpoint_name(values)).name.removesuffix(".ckpt")
    return name.replace("/", "_").lstrip(".") or "model"
