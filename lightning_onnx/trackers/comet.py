"""Lightning's CometLogger: a model of the experiment, the report in the HTML tab, a version in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.errors import ArtifactError
from lightning_onnx.trackers.base import say_once
from lightning_onnx.trackers.describe import clean, clean_all, summary

if TYPE_CHECKING:
    from comet_ml import CometExperiment
    from lightning.pytorch.loggers import CometLogger

_NAME = r"\w.=+ -"
_REGISTERED_NAME = r"\w.-"


class CometTracker:
    """Logs the directory as the experiment's model ``onnx-<name of the artifact>``, with the manifest's figures.

    An experiment's models have no aliases in Comet: ``onnx/best``, ``onnx/latest`` and so on in the Others tab hold
    the name of the model that they stand for. ``register_as`` makes a version in the registry and gives it the aliases
    as tags. Comet copies files when they are logged, so that the directory may be removed before they are uploaded.
    """

    def publish(
        self,
        logger: CometLogger,
        artifact: ONNXArtifact,
        aliases: Sequence[str],
        step: int,
        *,
        register_as: str | None = None,
    ) -> str | None:
        """Log the model, its aliases and the report."""
        experiment = logger.experiment
        if not experiment.alive:
            say_once(
                "The Comet experiment is disabled and takes nothing; CometLogger(online=False) of some versions does "
                "that. To keep it on disk, leave out `online` and set the environment variable COMET_START_ONLINE=0."
            )
            return None
        name = clean(f"onnx-{artifact.name}", _NAME)
        _log_files(experiment, name, artifact)
        labels = clean_all(aliases, _NAME)
        for label in labels:
            experiment.log_other(f"onnx/{label}", name)
        experiment.log_html(artifact.report.html(), clear=True)
        if register_as is not None:
            experiment.register_model(name, registry_name=clean(register_as, _REGISTERED_NAME), tags=labels)
        return f"Comet model {name}"


def _log_files(experiment: CometExperiment, name: str, artifact: ONNXArtifact) -> None:
    # Comet logs its errors and goes on: what came back is all there is to see of them.
    directory = str(artifact.directory)
    files = experiment.log_model(name, directory, metadata=summary(artifact), prepend_folder_name=False)
    taken = len(files or ())
    expected = sum(path.is_file() for path in artifact.directory.rglob("*"))
    if taken != expected:
        raise ArtifactError(
            f"Comet took {taken} of {expected} files of {directory}. Its own log says why; the size limits of the "
            "workspace are the usual reason."
        )
