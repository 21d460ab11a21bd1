"""What a tracker is, the table of those that there are, and how a logger finds its own."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any, Protocol

from lightning_onnx.artifact import ONNXArtifact
from lightning_onnx.errors import ConfigurationError


class Tracker(Protocol):
    """Where one kind of logger keeps a run.

    ``logger`` is ``Any``: ``lightning`` and ``pytorch_lightning`` are two packages without a common base class, and
    each kind of logger has methods of its own.
    """

    def publish(self, logger: Any, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """File an artifact; its scalars are already logged.

        Args:
            logger: A logger of the kind that the tracker is registered for.
            artifact: What to file.
            aliases: Names such as ``"best"`` and ``"latest"``, for trackers that have such a thing.
            step: The global step to log at.

        Returns:
            Where the files went, for people; None if no files were filed.
        """


class Nothing:
    """For loggers that keep nothing."""

    def publish(self, logger: Any, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Do nothing."""
        return None


TRACKERS: dict[str, Tracker | str] = {
    # The classes in lightning.pytorch derive from these two.
    "lightning.fabric.loggers.csv_logs.CSVLogger": "lightning_onnx.trackers.csv:CSVTracker",
    "lightning.fabric.loggers.tensorboard.TensorBoardLogger": "lightning_onnx.trackers.tensorboard:TensorBoardTracker",
    # It says yes to every hasattr, so only its class tells what it is.
    "lightning.pytorch.loggers.logger.DummyLogger": Nothing(),
}
"""Trackers by the logger's class; a ``module:class`` is imported on first use, so that none is loaded in vain."""

_OTHERS = "lightning_onnx.trackers.files:FilesTracker"
"""What serves a logger without a tracker of its own."""

_MIRRORS = {"pytorch_lightning.": "lightning.pytorch.", "lightning_fabric.": "lightning.fabric."}
"""Packages that hold the same classes a second time."""


def register(class_name: str, tracker: Tracker | str) -> None:
    """Say which tracker serves a kind of logger; the last one registered for a class counts.

    Args:
        class_name: The logger's class with its module; subclasses are served as well. A class in ``lightning.pytorch``
            stands for its double in ``pytorch_lightning``, too.
        tracker: An object, or ``"module:class"`` to import on first use and call without arguments.

    Raises:
        ConfigurationError: If one of the two is not of that form.

    Example:
        >>> register("my_project.loggers.MyLogger", "my_project.trackers:MyTracker")
    """
    if "." not in class_name:
        raise ConfigurationError(
            f"A tracker is registered for a class with its module, got {class_name!r}. "
            'Give a name such as "my_project.loggers.MyLogger".'
        )
    if isinstance(tracker, str) and not all(tracker.partition(":")):
        raise ConfigurationError(
            f'A tracker is an object or "module:class", got {tracker!r}. '
            'Give a name such as "my_project.trackers:MyTracker".'
        )
    TRACKERS[_original(class_name)] = tracker


def log_scalars(logger: Any, artifact: ONNXArtifact, step: int) -> None:
    """Log an artifact's figures. Call it on rank zero.

    Args:
        logger: Any Lightning logger, of either package.
        artifact: Whose figures.
        step: The global step of its weights.
    """
    if scalars := artifact.scalars():
        logger.log_metrics(scalars, step=step)


def publish(
    logger: Any, artifact: ONNXArtifact, aliases: Sequence[str], step: int, *, scalars: bool = True
) -> str | None:
    """Log an artifact's figures and file it where the logger keeps a run. Call it on rank zero.

    Whatever a tracker raises reaches the caller, who keeps one logger's trouble from the next.

    Args:
        logger: Any Lightning logger, of either package.
        artifact: What to file.
        aliases: Names such as ``"best"`` and ``"latest"``, for trackers that have such a thing.
        step: The global step of its weights.
        scalars: Whether to log the figures, which :func:`log_scalars` does alone.

    Returns:
        Where the files went, for people; None if no files were filed.
    """
    if scalars:
        log_scalars(logger, artifact, step)
    return _tracker(type(logger)).publish(logger, artifact, aliases, step)


def _tracker(logger_class: type) -> Tracker:
    """Find the tracker by names alone: to compare with the classes themselves, their packages would be imported."""
    names = (_original(f"{cls.__module__}.{cls.__qualname__}") for cls in logger_class.__mro__)
    found = next((TRACKERS[name] for name in names if name in TRACKERS), _OTHERS)
    return _loaded(found) if isinstance(found, str) else found


@functools.cache
def _loaded(name: str) -> Tracker:
    module, _, attribute = name.partition(":")
    tracker: Tracker = getattr(importlib.import_module(module), attribute)()
    return tracker


def _original(class_name: str) -> str:
    for mirror, original in _MIRRORS.items():
        if class_name.startswith(mirror):
            return original + class_name.removeprefix(mirror)
    return class_name
