"""Lightning's MLFlowLogger: a LoggedModel of the run, the report as a page, versions in the model registry."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_onnx.artifacts.artifact import MANIFEST, ONNXArtifact
from lightning_onnx.manifest.methods import scalars_of
from lightning_onnx.report import wording
from lightning_onnx.trackers.describe import clean, clean_all, summary
from lightning_onnx.trackers.mlflow.model import write_model_files

if TYPE_CHECKING:
    from lightning.pytorch.loggers import MLFlowLogger
    from mlflow.entities import LoggedModel
    from mlflow.tracking import MlflowClient

_ALIAS = r"\w-"
_MODEL_NAME = r"\w= -"
_REGISTERED_NAME = r"\w.= -"
_PARAM_LENGTH, _TAG_LENGTH = 6000, 5000
_NOTE = "mlflow.note.content"
"""What MLflow's pages show as the description."""

_TAG = "alias."


class MLflowTracker:
    """Files the directory as a LoggedModel of the run, named after the module; report and manifest below ``onnx/``.

    The LoggedModel has the figures as metrics at the step of its weights, the rest as params, the verdict as its
    description, and the artifact's name as the tag ``artifact``.

    All of it goes through the logger's client. `mlflow.onnx.log_model` needs an active run, which would mark the one
    that trains as finished.

    MLflow has aliases in its registry only. A LoggedModel gets a tag ``alias.best`` instead, which moves to the next
    best of the run. ``register_as`` makes a version of a registered model, and gives it the aliases.
    """

    def publish(
        self,
        logger: MLFlowLogger,
        artifact: ONNXArtifact,
        aliases: Sequence[str],
        step: int,
        *,
        register_as: str | None = None,
    ) -> str | None:
        """Log the model, the report and the manifest."""
        client = logger.experiment
        names = [_alias(alias) for alias in clean_all(aliases, _ALIAS, 200)]
        model = _log_model(client, str(logger.experiment_id), str(logger.run_id), artifact, step)
        _move_tags(client, model, names)
        for file in ("report.html", MANIFEST):
            if (artifact.directory / file).is_file():
                client.log_artifact(logger.run_id, str(artifact.directory / file), f"onnx/{artifact.name}")
        if register_as is not None:
            _register(client, model, clean(register_as, _REGISTERED_NAME, 250), names)
        return f"MLflow model models:/{model.model_id}"


def _log_model(client: MlflowClient, experiment_id: str, run_id: str, artifact: ONNXArtifact, step: int) -> LoggedModel:
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(
        experiment_id,
        name=clean(artifact.record.source.module or artifact.name, _MODEL_NAME),
        source_run_id=run_id,
        params={key: str(value)[:_PARAM_LENGTH] for key, value in _params(artifact).items()},
        tags={_NOTE: _description(artifact), "artifact": artifact.name},
        model_type="onnx",
    )
    try:
        with tempfile.TemporaryDirectory() as directory:
            write_model_files(artifact, Path(directory), model_id=model.model_id, run_id=run_id)
            client.log_model_artifacts(model.model_id, str(artifact.directory))
            client.log_model_artifacts(model.model_id, directory)
    except BaseException:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step)])
    for key, value in artifact.scalars().items():
        client.log_metric(run_id, key, value, step=step, model_id=model.model_id)
    return model


def _params(artifact: ONNXArtifact) -> dict[str, str | int | float]:
    """Return what models are compared by and is not a metric; what is long is in the manifest."""
    return {
        key: value
        for key, value in summary(artifact).items()
        if isinstance(value, (str, int, float)) and key not in scalars_of(artifact.record)
    }


def _description(artifact: ONNXArtifact) -> str:
    lines = [f"- {line}" for line in wording.essentials(artifact.record)]
    return "\n".join([f"**{artifact.report.summary}**", "", *lines])[:_TAG_LENGTH]


def _alias(alias: str) -> str:
    """Return an alias that does not look like a version: the registry reserves those."""
    return f"alias-{alias}" if re.fullmatch(r"[vV]\d+", alias) else alias


def _move_tags(client: MlflowClient, model: LoggedModel, aliases: Iterable[str]) -> None:
    run = f"source_run_id = '{model.source_run_id}'"
    for key in (_TAG + alias for alias in aliases):
        query = f"{run} AND tags.`{key}` = 'true'"
        for other in client.search_logged_models([model.experiment_id], filter_string=query):
            client.delete_logged_model_tag(other.model_id, key)
        client.set_logged_model_tags(model.model_id, {key: "true"})


def _register(client: MlflowClient, model: LoggedModel, name: str, aliases: Iterable[str]) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"models:/{model.model_id}"
    version = client.create_model_version(name, source, model.source_run_id, model_id=model.model_id)
    # By this tag, which `mlflow.register_model` sets, the page of the model shows where it is registered.
    registered = json.dumps([{"name": name, "version": version.version}])
    client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": registered})
    for alias in aliases:
        if alias.lower() != "latest":  # reserved: `models:/name/latest` is the newest version without it
            client.set_registered_model_alias(name, alias, version.version)
