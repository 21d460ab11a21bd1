"""Trackio: a Lightning logger for it, which neither Lightning nor Trackio has, and the directory as an artifact."""

from __future__ import annotations

import tempfile
import zipfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.errors import RuntimeUnavailable
from lightning_onnx.trackers.describe import clean, clean_all

if TYPE_CHECKING:
    from trackio.run import Run

_NAME = r"\w.-"


class TrackioLogger(Logger):
    """Logs a run to Trackio, which keeps it on this machine unless it is told otherwise.

    Args:
        project: Name of the project.
        name: Name of the run; by default, Trackio makes one. A run of this name is continued.
        options: Further options of ``trackio.init``, such as ``space_id`` or ``group``.

    Example:
        >>> Trainer(logger=TrackioLogger("digits"), callbacks=[ONNXExport()])  # doctest: +SKIP
    """

    def __init__(self, project: str = "lightning", name: str | None = None, **options: Any) -> None:
        super().__init__()
        self._project = project
        self._run_name = name
        self._options = options
        self._hyperparameters: dict[str, Any] = {}
        self._run: Run | None = None

    @property
    @override
    def name(self) -> str:
        """Name of the project."""
        return self._project

    @property
    @override
    def version(self) -> str | None:
        """Name of the run; None before it has one."""
        return self._run_name

    @property
    @rank_zero_experiment
    def experiment(self) -> Run:
        """The run, which the first access starts, or continues after it was finished.

        Raises:
            RuntimeUnavailable: If Trackio is not installed.
        """
        if self._run is None:
            try:
                import trackio
            except ModuleNotFoundError as error:
                raise RuntimeUnavailable(
                    "trackio is not installed. Install it: pip install 'lightning-onnx[trackio]'"
                ) from error
            options = {"resume": "allow", "embed": False, **self._options}
            self._run = trackio.init(self._project, name=self._run_name, config=self._hyperparameters, **options)
            self._run_name = self._run.name
        return self._run

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics at a step."""
        self.experiment.log(dict(metrics), step=step)

    @override
    @rank_zero_only
    def log_hyperparams(
        self, params: Mapping[str, Any] | Namespace | None = None, *args: object, **kwargs: object
    ) -> None:
        """Keep hyperparameters as the configuration of the run, which is stored with the next metrics."""
        given = vars(params) if isinstance(params, Namespace) else dict(params or {})
        self._hyperparameters |= {name: _plain(value) for name, value in given.items()}
        self.experiment.config.update(self._hyperparameters)

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Finish the run, so that everything is stored; a later access continues it."""
        if self._run is not None:
            self._run.finish()
            self._run = None


class TrackioTracker:
    """Logs the directory as a version of the artifact ``onnx-<run name>`` of type ``model``, with the aliases.

    Trackio stores copies. A version of Trackio without artifacts gets one archive per published directory instead, by
    ``trackio.save``: ``onnx-<run name>-<artifact name>.zip`` among the files of the project.
    """

    def publish(self, logger: TrackioLogger, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Log the artifact."""
        import trackio

        run = logger.experiment
        name = clean(f"onnx-{run.name}", _NAME)
        if not hasattr(run, "log_artifact"):
            return _save_archive(artifact, f"{name}-{clean(artifact.name, _NAME)}.zip", logger.name)
        made = trackio.Artifact(name, type="model", metadata=artifact.manifest)
        made.add_dir(artifact.directory)
        run.log_artifact(made, aliases=[_alias(alias) for alias in clean_all(aliases, _NAME)])
        return f"Trackio artifact {name}"


def _alias(alias: str) -> str:
    """Return a valid alias: ``v3`` and the like are versions."""
    return f"onnx-{alias}" if alias[0] == "v" and alias[1:].isdigit() else alias


def _save_archive(artifact: ONNXArtifact, name: str, project: str) -> str:
    import trackio

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(p for p in artifact.directory.rglob("*") if p.is_file()):
                archive.write(file, file.relative_to(artifact.directory))
        trackio.save(path, project=project)
    return f"Trackio file {name}"


def _plain(value: object) -> object:
    """Return a value that JSON can represent."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
