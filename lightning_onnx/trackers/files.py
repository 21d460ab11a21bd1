"""Artifacts as plain files in a log directory: for CSVLogger, and for loggers without a tracker of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_onnx.artifacts import naming, staging
from lightning_onnx.artifacts.artifact import MANIFEST, ONNXArtifact
from lightning_onnx.artifacts.remote import upload
from lightning_onnx.errors import ArtifactError
from lightning_onnx.trackers.base import say_once

if TYPE_CHECKING:
    from lightning.fabric.loggers.logger import Logger
    from lightning.pytorch.loggers import CSVLogger


class FilesTracker:
    """Keeps artifacts in ``<directory of the logger's run>/onnx`` if the logger has one, and says so once a run."""

    def publish(self, logger: Logger, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Copy the files."""
        run_dir = _run_dir(logger)
        place = copy_below(artifact, run_dir) if run_dir else None
        files = f"artifacts are kept in {os.path.join(run_dir, 'onnx')}" if run_dir else "no files are"
        say_once(
            f"{type(logger).__name__} has no tracker of its own in lightning_onnx: scalars are logged, {files}. "
            "`lightning_onnx.trackers.register` takes a tracker for it."
        )
        return place


def copy_below(artifact: ONNXArtifact, log_dir: str | os.PathLike[str]) -> str:
    """Copy an artifact to ``<log_dir>/onnx/<its name>``, in place of what is there; does nothing if it is there itself.

    On a local disk the copy appears whole or not at all. Object stores cannot rename: there the manifest is written
    last, and a directory without one is not an artifact.

    Args:
        artifact: What to copy.
        log_dir: A path, or a URL that fsspec knows.

    Returns:
        Path or URL of the copy.

    Raises:
        ArtifactError: If what is there is no artifact.
    """
    place = os.fspath(log_dir).removeprefix("file://")
    if "://" in place:
        return upload(artifact.directory, f"{place.rstrip('/')}/onnx/{artifact.directory.name}")
    source = artifact.directory.resolve()
    destination = Path(place) / "onnx" / artifact.directory.name
    if destination.resolve() != source:
        if destination.is_dir() and not (destination.is_symlink() or (destination / MANIFEST).is_file()):
            raise ArtifactError(
                f"{destination} is not an artifact, and is not replaced. Remove it, or choose another name."
            )
        destination.parent.mkdir(parents=True, exist_ok=True)
        with staging.stage(destination.parent) as staged:
            staging.put(Path(shutil.copytree(source, staged / "new")), destination)
    return str(destination)


def _run_dir(logger: Logger) -> str | None:
    """Return the directory of a logger's run: its own, else that of its checkpoints; None if it has neither."""
    log_dir, save_dir = (getattr(logger, name, None) for name in ("log_dir", "save_dir"))
    if log_dir and isinstance(log_dir, (str, os.PathLike)):
        return os.fspath(log_dir)
    if save_dir and isinstance(save_dir, (str, os.PathLike)):
        return naming.run_dir(logger, save_dir)  # save_dir itself is shared by all runs
    return None


class CSVTracker:
    """Keeps artifacts in ``<log_dir>/onnx``."""

    def publish(self, logger: CSVLogger, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Write the scalars out and copy the files."""
        # The logger holds rows back, and what comes after its last save is lost.
        logger.save()
        return copy_below(artifact, logger.log_dir)
