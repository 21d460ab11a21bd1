"""ClearML, which has no Lightning logger: artifacts go to its current task as well as to the run's loggers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.errors import ArtifactError
from lightning_onnx.trackers.describe import clean, clean_all, summary

if TYPE_CHECKING:
    from clearml import Task

_NAME = r"\w.=+ -"


class CurrentTask:
    """A ClearML task in the form of a logger, for ``lightning_onnx.trackers.publish``.

    Attributes:
        experiment: The task.

    Example:
        >>> task = clearml.Task.init("digits", "first try")  # doctest: +SKIP
        >>> publish(CurrentTask(task), artifact, ["best"], 90)  # doctest: +SKIP
        'ClearML artifact onnx-epoch=2-step=90'
    """

    def __init__(self, task: Task) -> None:
        self.experiment = task

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Report scalars as ClearML itself does for TensorBoard, so that both appear in the same plots."""
        for key, value in metrics.items():
            title, _, series = key.rpartition("/")
            self.experiment.get_logger().report_scalar(title or series, series, value=value, iteration=step or 0)


def current_task() -> CurrentTask | None:
    """Return the task that ``clearml.Task.init`` started in this process, None if there is none."""
    import clearml

    task: Task | None = clearml.Task.current_task()
    return None if task is None else CurrentTask(task)


class ClearMLTracker:
    """Uploads the directory as the task's artifact ``onnx-<name>``; the report is a debug sample.

    Artifacts have no aliases in ClearML: the task's user properties ``onnx-best``, ``onnx-latest`` and so on hold the
    name of the artifact that they stand for.
    """

    def publish(self, logger: CurrentTask, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Upload the files and report the rest."""
        task = logger.experiment
        name, labels = clean(f"onnx-{artifact.name}", _NAME), clean_all(aliases, _NAME)
        _upload(task, name, artifact)
        task.set_user_properties(**{f"onnx-{label}": name for label in labels})
        page = io.StringIO(artifact.report.html())
        task.get_logger().report_media("onnx", "report", iteration=step, stream=page, file_extension="html")
        return f"ClearML artifact {name}"


def _upload(task: Task, name: str, artifact: ONNXArtifact) -> None:
    taken = task.upload_artifact(
        name,
        artifact_object=str(artifact.directory),
        metadata={key: str(value) for key, value in summary(artifact).items()},
        # ClearML's own preview starts with the directory's absolute path.
        preview=artifact.report.text(),
        # Otherwise files are read later, when they may be gone.
        wait_on_upload=True,
    )
    if not taken:
        raise ArtifactError(f"ClearML took no files of {artifact.directory}. Its own log says why.")
