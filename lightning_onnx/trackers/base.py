"""What a tracker is, the table of those that there are, and how a logger finds its own."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from lightning_utilities.core.rank_zero import rank_zero_info

from lightning_onnx.errors import ConfigurationError


class Report(Protocol):
    """What people read about an artifact."""

    def markdown(self) -> str:
        """Return the report as Markdown."""


class Artifact(Protocol):
    """What trackers use of an artifact; a protocol, so that they can be tried on less than a whole export."""

    @property
    def directory(self) -> Path:
        """Everything that belongs to the artifact, and nothing else."""

    @property
    def model_path(self) -> Path:
        """The ONNX file."""

    @property
    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` says."""

    @property
    def report(self) -> Report:
        """The report."""

    def scalars(self) -> dict[str, float]:
        """Return what loggers plot, by its key (``"onnx/parity_passed"``)."""


class Tracker(Protocol):
    """Where one kind of logger keeps a run.

    ``logger`` is ``Any``: ``lightning`` and ``pytorch_lightning`` are two packages without a common base class, and each
    kind of logger has methods of its own.
    """

    def publish(self, logger: Any, artifact: Artifact, aliases: Sequence[str], step: int) -> str | None:
        """File an artifact; its scalars are already logged.

        Args:
            logger: A logger of the kind that the tracker is registered for.
            artifact: What to file.
            aliases: Names such as ``"best"`` and ``"latest"``, for trackers that have such a thing.
            step: The global step whose weights the artifact holds.

        Returns:
            Where the files went, for people; None if no files were filed.
        """


class FilesOnly:
    """For loggers that nobody wrote a tracker for: a copy of the files where the logger keeps its own, if anywhere."""

    def publish(self, logger: Any, artifact: Artifact, aliases: Sequence[str], step: int) -> str | None:
        """Copy the files below the logger's directory and say so."""
        log_dir = own_directory(logger)
        place = copy_below(artifact, log_dir) if log_dir else None
        files = f"copies of the artifacts are in {os.path.join(log_dir, 'onnx')}" if log_dir else "no files are copied"
        _say_once(
            f"{type(logger).__name__} has no tracker of its own in lightning_onnx: the scalars were logged and {files}. "
            "`lightning_onnx.trackers.register` takes a tracker for it."
        )
        return place


class Nothing:
    """For loggers that keep nothing."""

    def publish(self, logger: Any, artifact: Artifact, aliases: Sequence[str], step: int) -> str | None:
        """Do nothing."""
        return None


TRACKERS: dict[str, Tracker | str] = {
    # The classes in lightning.pytorch derive from these.
    "lightning.fabric.loggers.csv_logs.CSVLogger": "lightning_onnx.trackers.csv:CSVTracker",
    "lightning.fabric.loggers.tensorboard.TensorBoardLogger": "lightning_onnx.trackers.tensorboard:TensorBoardTracker",
    # Says yes to every hasattr, so it must be known by its class.
    "lightning.pytorch.loggers.logger.DummyLogger": Nothing(),
}
"""Trackers by the logger's class; a ``module:class`` is imported on first use, so that none is imported before it is needed."""

_MIRRORS = {"pytorch_lightning.": "lightning.pytorch.", "lightning_fabric.": "lightning.fabric."}
"""Packages that hold the same classes a second time."""


def register(class_name: str, tracker: Tracker | str) -> None:
    """Say which tracker serves a kind of logger; the last one registered for a class counts.

    Args:
        class_name: The logger's class with its module; subclasses are served as well. A name in ``lightning.pytorch``
            stands for the same one in ``pytorch_lightning``, too.
        tracker: An object, or ``"module:class"`` to import on first use and call without arguments.

    Raises:
        ConfigurationError: If a text has not the form that is described here.

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
            f'A tracker is an object or "module:class", got {tracker!r}. Give a name such as "my_project.trackers:MyTracker".'
        )
    TRACKERS[_original(class_name)] = tracker


def publish(logger: Any, artifact: Artifact, aliases: Sequence[str], step: int) -> str | None:
    """Log an artifact's scalars and file it where the logger keeps a run. Call it on rank zero.

    Whatever a tracker raises reaches the caller: one logger's trouble is for the caller to keep from the next.

    Args:
        logger: Any Lightning logger, of either package.
        artifact: What to file.
        aliases: Names such as ``"best"`` and ``"latest"``, for trackers that have such a thing.
        step: The global step whose weights the artifact holds.

    Returns:
        Where the files went, for people; None if no files were filed.
    """
    tracker = _tracker(type(logger))
    if scalars := artifact.scalars():
        logger.log_metrics(scalars, step=step)
    return tracker.publish(logger, artifact, aliases, step)


def own_directory(logger: Any) -> str | None:
    """Return the directory that a logger keeps for this run, as Lightning's checkpoints find it; None without one."""
    log_dir = getattr(logger, "log_dir", None)
    if isinstance(log_dir, (str, os.PathLike)) and os.fspath(log_dir):
        return str(log_dir)
    save_dir = getattr(logger, "save_dir", None)
    if isinstance(save_dir, (str, os.PathLike)) and os.fspath(save_dir):
        # All runs share save_dir.
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        return os.path.join(save_dir, str(logger.name), version)
    return None


def copy_below(artifact: Artifact, log_dir: str | os.PathLike[str]) -> str:
    """Copy an artifact to ``<log_dir>/onnx/<its name>``, in place of what is there; not if it lies there already.

    On a local disk the copy appears whole or not at all. Object stores cannot rename: there the manifest is written
    last, and a directory without one is not an artifact.

    Args:
        artifact: What to copy.
        log_dir: A path, or a URL that fsspec knows.

    Returns:
        The directory with the artifact.
    """
    if "://" in str(log_dir):
        return _upload(artifact.directory, f"{str(log_dir).rstrip('/')}/onnx/{artifact.directory.name}")
    source = artifact.directory.resolve()
    destination = Path(log_dir) / "onnx" / artifact.directory.name
    if destination.resolve() != source:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _hidden_sibling(destination) as stage:
            shutil.copytree(source, stage / "new")
            _replace(destination, stage / "new", stage / "old")
    return str(destination)


@contextlib.contextmanager
def _hidden_sibling(path: Path) -> Iterator[Path]:
    stage = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace(destination: Path, new: Path, old: Path) -> None:
    """Rename ``new`` to ``destination``; what was there comes back if that fails."""
    replaces = destination.exists()
    if replaces:
        destination.rename(old)
    try:
        new.rename(destination)
    except OSError:
        if replaces:
            old.rename(destination)
        raise


def _upload(source: Path, url: str) -> str:
    import fsspec  # type: ignore[import-untyped]

    system, root = fsspec.core.url_to_fs(url)
    if system.exists(root):
        system.rm(root, recursive=True)
    files = sorted((f for f in source.rglob("*") if f.is_file()), key=lambda f: (f.name == "manifest.json", f))
    for file in files:
        place = f"{root}/{file.relative_to(source).as_posix()}"
        system.makedirs(place.rpartition("/")[0], exist_ok=True)
        system.put_file(str(file), place)
    return url


def _tracker(logger_class: type) -> Tracker:
    for cls in logger_class.__mro__:
        found = TRACKERS.get(_original(f"{cls.__module__}.{cls.__qualname__}"))
        if found is not None:
            return _loaded(found) if isinstance(found, str) else found
    return FilesOnly()


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


@functools.cache
def _say_once(message: str) -> None:
    rank_zero_info(message)
