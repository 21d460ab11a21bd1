"""What a tracker is, the table of those that there are, and how a logger finds its own."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from lightning.fabric.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_info

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.errors import ConfigurationError


class Tracker(Protocol):
    """Where one kind of logger keeps a run.

    A tracker with a model registry takes a keyword ``register_as`` as well: the name to register the model under, or
    None. Files must have arrived, or been copied, when ``publish`` returns: the artifact may be removed right after.

    A tracker annotates ``logger`` with the class that it is for; that of ``pytorch_lightning`` has the same methods.
    """

    def publish(self, logger: Logger, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """File an artifact; its scalars are already logged.

        Args:
            logger: A logger of the kind that the tracker is registered for.
            artifact: What to file.
            aliases: Names such as ``"best"`` and ``"latest"``, for trackers that have such a thing.
            step: The global step to log at.

        Returns:
            Where the files went, human-readable; None if no files were filed.
        """


class Nothing:
    """For loggers that keep nothing."""

    def publish(self, logger: Logger, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Do nothing."""
        return None


class OwnMethod:
    """For loggers that file artifacts by themselves, in a method ``log_onnx_artifact(artifact, aliases, step)``."""

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
"""A logger's own way: ``log_onnx_artifact(self, artifact, aliases, step)``, with a registry also ``register_as``."""

ENTRY_POINTS = "lightning_onnx.trackers"
"""Group of entry points in which a package names its trackers: ``"its.module.Logger" = "its.module:Tracker"``."""

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
    "dvclive.lightning.DVCLiveLogger": "lightning_onnx.trackers.dvclive:DVCLiveTracker",
    # It says yes to every hasattr, so only its class tells what it is.
    "lightning.pytorch.loggers.logger.DummyLogger": Nothing(),
}
"""Trackers by the logger's class; a ``module:class`` is imported on first use, so that none is loaded in vain."""

_OTHERS = "lightning_onnx.trackers.files:FilesTracker"
"""What serves a logger without a tracker of its own."""

_WITHOUT_LOGGER = {"clearml": "lightning_onnx.trackers.clearml:current_task"}
"""Packages that keep a run without a logger of Lightning's, and what gives the run that is current, or None."""

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


def log_scalars(logger: Logger, artifact: ONNXArtifact, step: int) -> None:
    """Log an artifact's figures. Call it on rank zero.

    Args:
        logger: Any Lightning logger, of either package.
        artifact: Whose figures.
        step: The global step of its weights.
    """
    if scalars := artifact.scalars():
        logger.log_metrics(scalars, step=step)


def targets(loggers: Sequence[Logger]) -> list[Logger]:
    """Return all that a run's artifacts are published to: its loggers, and the ClearML task that is current.

    ClearML watches a process instead of being given to the Trainer, so that no logger stands for it.

    Args:
        loggers: The Trainer's loggers.

    Returns:
        The loggers, and after them what else ``publish`` takes.

    Example:
        >>> for target in targets(trainer.loggers):  # doctest: +SKIP
        ...     publish(target, artifact, ["best"], trainer.global_step)
    """
    # Who has not imported the package has no run of it.
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
    """Log an artifact's figures and file it where the logger keeps a run. Call it on rank zero.

    Whatever a tracker raises reaches the caller, who keeps one logger's trouble from the next.

    Args:
        logger: Any Lightning logger, of either package.
        artifact: What to file.
        aliases: Names such as ``"best"`` and ``"latest"``, for trackers that have such a thing.
        step: The global step of its weights.
        register_as: Name in the tracker's model registry; None registers nothing.
        scalars: Whether to log the figures, which ``log_scalars`` does on its own.

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
    """Find the tracker by names only: to compare with the classes themselves, their packages would be imported.

    The most derived class that anything is known of decides. What is registered for a class goes before a method of
    its own, and that before an entry point: who calls `register` means it.
    """
    for cls in logger_class.__mro__:
        name = _original(f"{cls.__module__}.{cls.__qualname__}")
        if name in TRACKERS:
            return _loaded(TRACKERS[name])
        if METHOD in vars(cls):
            return OwnMethod()
        if name in _entry_points():
            return _loaded(_entry_points()[name])
    return _loaded(_OTHERS)


def _loaded(tracker: Tracker | str) -> Tracker:
    return _imported(tracker) if isinstance(tracker, str) else tracker


@functools.cache
def _imported(name: str) -> Tracker:
    tracker: Tracker = _attribute(name)()
    return tracker


def _attribute(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@functools.cache
def _entry_points() -> dict[str, str]:
    """Return the trackers that installed packages name: read once, as it looks into every distribution."""
    return {_original(point.name): point.value for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _registration(function: Callable[..., Any], logger: Logger, register_as: str | None) -> dict[str, str]:
    """Return the keyword for a registry; none for what has no registry, which is said once."""
    if register_as is None:
        return {}
    parameters = inspect.signature(function).parameters.values()
    if any(p.name == "register_as" or p.kind is p.VAR_KEYWORD for p in parameters):
        return {"register_as": register_as}
    say_once(
        f"register_as={register_as!r} does nothing for {type(logger).__name__}: no model registry of it is known to "
        "lightning_onnx."
    )
    return {}


@functools.cache
def say_once(message: str) -> None:
    """Log a human-readable line on rank zero; not again for every artifact."""
    rank_zero_info(message)


def _original(class_name: str) -> str:
    for mirror, original in _MIRRORS.items():
        if class_name.startswith(mirror):
            return original + class_name.removeprefix(mirror)
    return class_name


class NeptuneTracker:
    """Says that there is no Neptune; Lightning's own NeptuneLogger says so when it is made."""

    def publish(self, logger: Logger, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Refuse.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(
            f"Neptune was shut down and keeps no artifacts, got a {type(logger).__name__}. Use another logger, such as "
            "MLFlowLogger, WandbLogger or LitLogger, or register a tracker for it: lightning_onnx.trackers.register."
        )
