"""Names of artifacts, and the directory that they go to by default."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_onnx.artifacts.index import INDEX
from lightning_onnx.errors import ConfigurationError, first_line
from lightning_onnx.module.weights.source import Source
from lightning_onnx.printable import CONTROLS

_UNPRINTABLE = re.compile(rf"[\t\n]|{CONTROLS.pattern}")

_MOST_BYTES = 240
"""Names have 255 bytes on most file systems; the rest is for versions such as ``-v12``."""


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


def check_directory(option: str, given: str | os.PathLike[str]) -> None:
    """Check the name of a directory that an option gives: ``model.onnx`` would be a directory of that name.

    Args:
        option: What the option is called in the message.
        given: Its value. A directory that exists is taken as it is.

    Raises:
        ConfigurationError: If it is empty, or the name of a file.
    """
    path = os.fspath(given)
    if not path.strip():
        raise ConfigurationError(f"{option}={path!r} is empty. Give a directory such as 'exported'.")
    if path.rstrip("/").lower().endswith(".onnx") and not os.path.isdir(path):
        raise ConfigurationError(
            f"{option}={path!r} is the name of a file, but an artifact is a directory, in which the file is called "
            f"model.onnx. Give a directory such as {os.path.join(os.path.dirname(path.rstrip('/')), 'exported')!r}."
        )


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
            f"the directory {dirpath!r} cannot be reached: {error}. Install the package that fsspec names, or choose "
            "a directory of this machine with dirpath=."
        ) from error
    return path.rstrip("/")


class _Trial(dict[str, Any]):
    """Metrics for a trial: whatever Lightning adds for a metric that it does not know has one value."""

    def __init__(self, value: Tensor) -> None:
        super().__init__(epoch=0, step=0)
        self.value = value

    def __setitem__(self, name: str, value: object) -> None:
        super().__setitem__(name, self.value)


def check_filename(filename: object) -> None:
    """Check the template for the names of artifacts, and fill it in once.

    Raises:
        ConfigurationError: If it is empty, contains a separator or a control character, begins with a dot, cannot be
            filled in, or is too long or the name of the index once it is.
    """
    problem = None if filename is None else _problem(filename)
    if problem is not None:
        raise ConfigurationError(
            f"filename={filename!r} is not the name of a directory: {problem}. Give one such as "
            "'{epoch}-{val_loss:.2f}'."
        )


def _problem(filename: object) -> str | None:
    if not isinstance(filename, str) or not filename:
        return "it is not a text, or empty"
    outside = re.sub(r"\{[^}]*\}", "", filename)  # a metric may be val/loss
    if re.search(r"[/\\]|^\.", outside):
        return "it contains a separator, or begins with a dot"
    if filename.lower().endswith(".onnx"):
        return "it ends with .onnx, but names the directory, in which the file is called model.onnx"
    if _UNPRINTABLE.search(filename):
        return "it contains a character that no terminal shows"
    try:
        name = _fill(filename, _Trial(torch.tensor(0.5)))
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        try:  # a metric that is a whole number
            name = _fill(filename, _Trial(torch.tensor(0)))
        except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
            return f"it cannot be filled in ({first_line(error)})"
    if re.search(r"[{}]", name):
        return "it has braces that are no metric's"
    if len(os.fsencode(name)) > _MOST_BYTES:
        return f"it has {len(os.fsencode(name))} bytes when it is filled in, and {_MOST_BYTES} are possible"
    return f"{INDEX} lists the artifacts" if name.casefold() == INDEX else None


def _fill(filename: str, values: dict[str, Any]) -> str:
    """Fill in a template as ``ModelCheckpoint`` does."""
    return ModelCheckpoint(filename=filename).format_checkpoint_name(values).removesuffix(".ckpt")


def artifact_name(filename: str | None, source: Source, metrics: Mapping[str, Tensor]) -> str:
    """Return the name of an artifact, which any file system takes.

    Args:
        filename: A template, filled as ``ModelCheckpoint`` does; None takes the checkpoint's name, as does a template
            that these metrics do not fit.
        source: Where its weights come from.
        metrics: Logged metrics that the template may name.
    """
    stem = Path(source.checkpoint).name.removesuffix(".ckpt") if source.checkpoint else None
    name = stem or f"epoch={source.epoch}-step={source.global_step}"
    if filename is not None:
        with contextlib.suppress(ValueError, TypeError):  # such as {n:d} where n is not a whole number
            name = _fill(filename, {**metrics, "epoch": source.epoch or 0, "step": source.global_step or 0})
    name = _UNPRINTABLE.sub("_", name.replace("/", "_")).lstrip(".") or "model"
    if len(os.fsencode(name)) > _MOST_BYTES:
        name = os.fsencode(name)[:_MOST_BYTES].decode(errors="ignore")
    return name if name.casefold() != INDEX else name.replace(".", "_")
