"""Names of artifacts, and the directory that they go to by default."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.weights.source import Source
from lightning_onnx.printable import CONTROLS


def default_dirpath(loggers: Sequence[Any], default_root_dir: str) -> str:
    """Return the default directory of a run, beside ``ModelCheckpoint``'s own default.

    With loggers such as W&B's and MLflow's, ``trainer.log_dir`` would be the same for all runs.

    Args:
        loggers: The Trainer's loggers, of ``lightning`` or ``pytorch_lightning``.
        default_root_dir: The Trainer's directory for what has no other.
    """
    if not loggers:
        return os.path.join(default_root_dir, "onnx")
    return os.path.join(run_dir(loggers[0], loggers[0].save_dir or default_root_dir), "onnx")


def run_dir(logger: Any, save_dir: str | os.PathLike[str]) -> str:
    """Return the directory of a logger's run, as ``ModelCheckpoint`` forms it.

    Args:
        logger: A logger of ``lightning`` or ``pytorch_lightning``.
        save_dir: The directory of all its runs.
    """
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return os.path.join(save_dir, str(logger.name), version)


def resolve(dirpath: str) -> str:
    """Return the absolute path of a directory, with ``~`` and environment variables replaced; URLs stay.

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


def check_filename(filename: object) -> None:
    """Check the template for the names of artifacts.

    Raises:
        ConfigurationError: If it is empty, contains a separator, or begins with a dot.
    """
    outside = re.sub(r"\{[^}]*\}", "", filename) if isinstance(filename, str) else ""  # a metric may be val/loss
    if filename is not None and (not isinstance(filename, str) or not filename or re.search(r"[/\\]|^\.", outside)):
        raise ConfigurationError(
            f"filename={filename!r} is not the name of a directory. Give one such as '{{epoch}}-{{val_loss:.2f}}'."
        )


def artifact_name(filename: str | None, source: Source, metrics: Mapping[str, Tensor]) -> str:
    """Return the name of an artifact.

    Args:
        filename: A template, filled as ``ModelCheckpoint`` does; None takes the checkpoint's name.
        source: Where its weights come from.
        metrics: Logged metrics that the template may name.
    """
    if filename is None:
        stem = Path(source.checkpoint).name.removesuffix(".ckpt") if source.checkpoint else None
        name = stem or f"epoch={source.epoch}-step={source.global_step}"
    else:
        values: dict[str, Any] = {**metrics, "epoch": source.epoch or 0, "step": source.global_step or 0}
        name = ModelCheckpoint(filename=filename).format_checkpoint_name(values).removesuffix(".ckpt")
    return CONTROLS.sub("_", re.sub(r"[/\t\n]", "_", name)).lstrip(".") or "model"
