"""What a tracker is, the table of trackers, and how the tracker of a logger is found."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from lightning.fabric.loggers.logger import Logger

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.errors import ConfigurationError
from lightning_onnx.notices import info


class Tracker(Protocol):
    """Where one kind of logger keeps a run.

    A tracker with a model registry also takes a keyword ``register_as``: the name to register the model under, or None.
    When ``publish`` returns, the files must be uploaded or copied, because the artifact may be removed right after.

    A tracker annotates ``logger`` with the class that it is for; that of ``pytorch_lightning`` has the same methods.
    """

    def publish(self, logger: Logger, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """File an artifact; its scalars are logged already.

        Args:
            logger: A logger of the kind that the tracker is registered for.
            artifact: What to file.
            aliases: Names such as ``"best"`` and ``"latest"``, for trackers that have such a thing.
            step: The global step to log at.

        Returns:
            Where the files went, human-readable; None if no files were filed.
        """


class Nothing:
    """The tracker of loggers that keep nothing."""

    def publish(self, logger: Logger, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Do nothing."""
        return None


class OwnMethod:
    """The tracker of loggers with a method ``log_onnx_artifact(artifact, aliases, step)`` of their own."""

    def publish(
        self,
        logger: Logger,
        artifact: ONNXArtifact,
        aliases: Sequence[str],
        step: int,
        *,
        register_as: str | None = None,
    ) -> str | None:
        """Call the method."""
        method = getattr(logger, METHOD)
        place = method(artifact, aliases, step, **_registration(method, logger, register_as))
        return None if place is None else str(place)


METHOD = "log_onnx_artifact"
"""A logger's own method, ``log_onnx_artifact(self, artifact, aliases, step)``; with a registry also ``register_as``."""

ENTRY_POINTS = "lightning_onnx.trackers"
"""The entry points by which packages register trackers: ``"its.module.Logger" = "its.module:Tracker"``."""

TRACKERS: dict[str, Tracker | str] = {
    # The classes in lightning.pytorch derive from these two.
    "lightning.fabric.loggers.csv_logs.CSVLogger": "lightning_onnx.trackers.files:CSVTracker",
    "lightning.fabric.loggers.tensorboard.TensorBoardLogger": (
        "lightning_onnx.trackers.tensorboard.tracker:TensorBoardTracker"
    ),
    "lightning.pytorch.loggers.comet.CometLogger": "lightning_onnx.trackers.comet:CometTracker",
    "lightning.pytorch.loggers.litlogger.LitLogger": "lightning_onnx.trackers.litlogger:LitLoggerTracker",
    "lightning.pytorch.loggers.mlflow.MLFlowLogger": "lightning_onnx.trackers.mlflow.tracker:MLflowTracker",
    "lightning.pytorch.loggers.neptune.NeptuneLogger": "lightning_onnx.trackers.base:NeptuneTracker",
    "lightning.pytorch.loggers.wandb.WandbLogger": "lightning_onnx.trackers.wandb:WandbTracker",
    "lightning_onnx.trackers.clearml.CurrentTask": "lightning_onnx.trackers.clearml:ClearMLTracker",
    "lightning_onnx.trackers.trackio.TrackioLogger": "lightning_onnx.trackers.trackio:TrackioTracker",
    "dvclive.lightning.DVCLiveLogger": "lightning_onnx.trackers.dvclive:DVCLiveTracker",
    # Its hasattr is always true, so that it can be recognized only by its class.
    "lightning.pytorch.loggers.logger.DummyLogger": Nothing(),
}
"""Trackers by the logger's class; ``"module:class"`` is imported on first use."""

FALLBACK = "lightning_onnx.trackers.files:FilesTracker"
"""The tracker of loggers without one of their own."""

_WITHOUT_LOGGER = {"clearml": "lightning_onnx.trackers.clearml:current_task"}
"""Packages that keep a run without a Lightning logger, and the function that returns their current run, or None."""

_MIRRORS = {"pytorch_lightning.": "lightning.pytorch.", "lightning_fabric.": "lightning.fabric."}
"""Packages with a second copy of the same classes, by the prefix of their names."""


def register(class_name: str, tracker: Tracker | str) -> None:
    """Register the tracker of a kind of logger, in place of an earlier one.

    Args:
        class_name: The logger's class with its module; subclasses are included. A class in ``lightning.pytorch`` also
            stands for the one in ``pytorch_lightning``.
        tracker: An object, or a ``"module:class"`` that is imported on first use and called without arguments.

    Raises:
        ConfigurationError: If one of them does not have that form.

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


def log_scalars(logger: Logger, artifact: ONNXArtifact, step: int) -> None:
    """Log an artifact's scalars. Call it on rank zero.

    Args:
        logger: Any Lightning logger, of either package.
        artifact: The artifact.
        step: The global step of its weights.
    """
    if scalars := artifact.scalars():
        logger.log_metrics(scalars, step=step)


def targets(loggers: Sequence[Logger]) -> list[Logger]:
    """Return what a run's artifacts are published to: its loggers, and the current ClearML task.

    ClearML watches a process instead of being given to the Trainer, so that it has no logger.

    Args:
        loggers: The Trainer's loggers.

    Returns:
        The loggers, then what else ``publish`` takes.

    Example:
        >>> for target in targets(trainer.loggers):  # doctest: +SKIP
        ...     publish(target, artifact, ["best"], trainer.global_step)
    """
    # Without an import of the package there is no run of it.
    current = (_attribute(name)() for package, name in _WITHOUT_LOGGER.items() if package in sys.modules)
    return [*loggers, *(found for found in current if found is not None)]


def publish(
    logger: Logger,
    artifact: ONNXArtifact,
    aliases: Sequence[str],
    step: int,
    *,
    register_as: str | None = None,
    scalars: bool = True,
) -> str | None:
    """Log an artifact's scalars and file it where the logger keeps a run. Call it on rank zero.

    Whatever a tracker raises reaches the caller.

    Args:
        logger: Any Lightning logger, of either package.
        artifact: What to file.
        aliases: Names such as ``"best"`` and ``"latest"``, for trackers that have such a thing.
        step: The global step of its weights.
        register_as: Name in the tracker's model registry; None registers nothing.
        scalars: Whether to log the scalars, as ``log_scalars`` does.

    Returns:
        Where the files went, human-readable; None if no files were filed.

    Example:
        >>> publish(logger, artifact, ["best", "latest"], trainer.global_step)  # doctest: +SKIP
        'wandb artifact onnx-4f1x2y'
    """
    if scalars:
        log_scalars(logger, artifact, step)
    tracker = _tracker(type(logger))
    return tracker.publish(logger, artifact, aliases, step, **_registration(tracker.publish, logger, register_as))


def _tracker(logger_class: type) -> Tracker:
    """Find the tracker by the names of the classes, so that no tracker's package is imported to compare with.

    The most derived class decides for which there is a tracker: a registered one, since `register` is called on
    purpose, else the class's own method, else an entry point.
    """
    for cls in logger_class.__mro__:
        name = _original(f"{cls.__module__}.{cls.__qualname__}")
        if name in TRACKERS:
            return _loaded(TRACKERS[name])
        if METHOD in vars(cls):
            return OwnMethod()
        if name in entry_points():
            return _loaded(entry_points()[name])
    return _loaded(FALLBACK)


def _loaded(tracker: Tracker | str) -> Tracker:
    return imported(tracker) if isinstance(tracker, str) else tracker


@functools.cache
def imported(name: str) -> Tracker:
    """Import and make the tracker named by ``"module:class"``; once for all loggers."""
    tracker: Tracker = _attribute(name)()
    return tracker


def _attribute(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@functools.cache
def entry_points() -> dict[str, str]:
    """Return the trackers of installed packages; cached, because every distribution is searched."""
    return {_original(point.name): point.value for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _registration(function: Callable[..., Any], logger: Logger, register_as: str | None) -> dict[str, str]:
    """Return the keyword for the model registry; if there is no registry, log that once and return none."""
    if register_as is None:
        return {}
    if _takes_name(function):
        return {"register_as": register_as}
    say_unregistered(register_as, [logger])
    return {}


def registers(logger: Logger) -> bool:
    """Tell whether a logger's artifacts can be registered in a model registry.

    Args:
        logger: Any Lightning logger, of either package.
    """
    tracker = _tracker(type(logger))
    return _takes_name(getattr(logger, METHOD) if isinstance(tracker, OwnMethod) else tracker.publish)


def _takes_name(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == "register_as" or p.kind is p.VAR_KEYWORD for p in parameters)


def say_unregistered(register_as: str, loggers: Sequence[Logger]) -> None:
    """Say once that a name for a model registry has no effect.

    Args:
        register_as: The name.
        loggers: The loggers that lack a registry; none if there is no logger.
    """
    names = ", ".join(dict.fromkeys(type(logger).__name__ for logger in loggers))
    why = f"no model registry of {names} is known to lightning_onnx." if names else "the Trainer has no logger."
    say_once(f"register_as={register_as!r} has no effect: {why}")


@functools.cache
def say_once(message: str) -> None:
    """Log a line on rank zero, but not again for every artifact."""
    info(message)


def _original(class_name: str) -> str:
    for mirror, original in _MIRRORS.items():
        if class_name.startswith(mirror):
            return original + class_name.removeprefix(mirror)
    return class_name


class NeptuneTracker:
    """Refuses, because Neptune was shut down; Lightning's own NeptuneLogger does so when it is made."""

    def publish(self, logger: Logger, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Refuse.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(
            f"Neptune was shut down and keeps no artifacts, got a {type(logger).__name__}. Use another logger, such as "
            "MLFlowLogger, WandbLogger or LitLogger, or register a tracker for it: lightning_onnx.trackers.register."
        )
