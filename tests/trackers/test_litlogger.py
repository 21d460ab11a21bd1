"""LitLogger has no offline mode: its real classes, with the transport to lightning.ai replaced."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litlogger
import pytest
from lightning.pytorch.loggers import LitLogger

from lightning_onnx import ONNXArtifact
from lightning_onnx.trackers import publish
from lightning_onnx.trackers.describe import summary
from tests.trackers.conftest import same_files
from tests.trackers.training import assert_read_back, scalars_of, train

pytestmark = pytest.mark.slow


class Cloud:
    """What would be on lightning.ai: the calls of `litlogger` to its client and its teamspace."""

    id, name, cluster_id = "teamspace", "space", "cluster"
    owner = types.SimpleNamespace(name="owner")

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tags: dict[str, str] = {}
        self.metrics: list[tuple[str, float, int]] = []
        self.models: list[dict[str, Any]] = []

    def upload_file(self, file_path: str, remote_path: str, **options: Any) -> None:
        place = self.root / remote_path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file_path, place)

    def upload_model(self, path: str, **options: Any) -> None:
        self.models.append({**options, "files": {p.name for p in Path(path).rglob("*") if p.is_file()}})

    def lit_logger_service_get_metrics_stream(self, **query: Any) -> Any:
        tags = [types.SimpleNamespace(name=k, value=v, from_code=True) for k, v in self.tags.items()]
        return types.SimpleNamespace(id="stream", name="run", cluster_id="cluster", tags=tags, artifacts=[])

    def lit_logger_service_get_logger_metrics_summary(self, **query: Any) -> Any:
        return types.SimpleNamespace(summaries_per_name={})

    def lit_logger_service_get_logger_metrics(self, **query: Any) -> Any:
        return types.SimpleNamespace(named_metrics={})

    def lit_logger_service_list_lit_logger_media(self, **query: Any) -> Any:
        return types.SimpleNamespace(media=[])

    def lit_logger_service_append_logger_metrics(self, body: Any, **query: Any) -> None:
        self.metrics += [(m.name, float(v.value), int(v.step)) for m in body.metrics for v in m.values]

    def lit_logger_service_update_metrics_stream(self, body: Any, **query: Any) -> None:
        self.tags = {tag.name: tag.value for tag in body.tags or []} or self.tags

    def lit_logger_service_create_logger_artifact(self, **query: Any) -> None:
        pass


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    cloud = Cloud(tmp_path / "cloud")
    for module in ("api.metrics_api", "api.artifacts_api", "api.media_api", "media"):
        monkeypatch.setattr(f"litlogger.{module}.LitRestClient", lambda **options: cloud)
    experiment = sys.modules["litlogger.experiment"]  # as an attribute of litlogger it is something else
    monkeypatch.setattr("litlogger.api.auth_api.AuthApi.authenticate", lambda self: True)
    monkeypatch.setattr(experiment, "_resolve_teamspace", lambda name: cloud)
    monkeypatch.setattr(experiment, "get_accessible_url", lambda **options: "https://example.com")
    monkeypatch.setattr("lightning_sdk.models._get_teamspace", lambda **options: cloud)
    monkeypatch.setattr("lightning_sdk.models.raise_access_error_if_not_allowed", lambda *args: None)
    return cloud


@pytest.fixture
def logger(cloud: Cloud, tmp_path: Path) -> Iterator[LitLogger]:
    logger = LitLogger(tmp_path / "logs", name="run", save_logs=False)
    yield logger
    _finish(logger)


def _finish(logger: LitLogger) -> litlogger.Experiment:
    experiment = logger.experiment
    experiment.finalize()
    experiment._manager.join(timeout=10)
    experiment._metrics_queue.close()
    experiment._metrics_queue.join_thread()
    return experiment


def test_best_is_found_after_training(logger: LitLogger, cloud: Cloud, tmp_path: Path) -> None:
    trained = train(tmp_path, logger)
    experiment = _finish(logger)
    place = tmp_path / "cloud/experiments" / experiment.name / "onnx" / cloud.tags["onnx/best"]
    assert_read_back(trained, tmp_path, "plain", place)
    ours = [(name, value, step) for name, value, step in cloud.metrics if name.startswith("onnx/")]
    assert {name: value for name, value, _ in ours} == scalars_of(trained)
    assert {step for _, _, step in ours} == {3, trained.step}  # one for each checkpoint


def test_files_are_uploaded_and_named(
    logger: LitLogger, cloud: Cloud, artifact: ONNXArtifact, dynamo_artifact: ONNXArtifact, tmp_path: Path
) -> None:
    publish(logger, artifact, ["latest", "best", "a/b:c"], 1)
    publish(logger, dynamo_artifact, ["latest"], 2)
    experiment = _finish(logger)
    root = tmp_path / "cloud/experiments" / experiment.name / "onnx"
    assert same_files(root / artifact.name, artifact)
    assert same_files(root / dynamo_artifact.name, dynamo_artifact)
    assert cloud.tags == {"onnx/latest": "dynamo", "onnx/best": artifact.name, "onnx/a-b-c": artifact.name}
    assert not cloud.models


def test_registers_with_register_as(logger: LitLogger, cloud: Cloud, artifact: ONNXArtifact) -> None:
    publish(logger, artifact, ["best"], 1, register_as="my/digits: new")
    _finish(logger)
    (model,) = cloud.models
    assert (model["name"], model["version"]) == ("my-digits-new", "epoch-2-step-9")
    assert {"model.onnx", "manifest.json", "input_0.pb"} <= model["files"]
    assert model["metadata"].items() >= {k: str(v) for k, v in summary(artifact).items()}.items()
