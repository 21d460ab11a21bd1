"""What every tracker must do, on a real logger of each kind."""

# ruff: noqa: F401, F811  (fixtures)

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_onnx import ONNXArtifact
from lightning_onnx.artifacts.file_digests import describe_file
from lightning_onnx.trackers import publish
from tests.trackers.mlflow.test_tracker import _nothing_left, empty_store, sqlite
from tests.trackers.mlflow.test_tracker import logger as mlflow
from tests.trackers.test_base import Filing, Recorder
from tests.trackers.test_clearml import task
from tests.trackers.test_comet import logger as comet
from tests.trackers.test_dvclive import repository
from tests.trackers.test_litlogger import cloud
from tests.trackers.test_litlogger import logger as litlogger
from tests.trackers.test_wandb import logger as wandb

pytestmark = pytest.mark.slow

HOSTILE = ["latest", "best", "epoch=3", "a/b:c", "v3", "", "Ω\n", "../..", "x" * 300]


@pytest.fixture
def clearml(task: Any) -> Any:
    from lightning_onnx.trackers.clearml import CurrentTask

    return CurrentTask(task)


@pytest.fixture
def dvclive(repository: Path) -> Any:
    from dvclive.lightning import DVCLiveLogger

    return DVCLiveLogger(dir="live")


@pytest.fixture
def tensorboard(tmp_path: Path) -> Iterator[Any]:
    logger = TensorBoardLogger(tmp_path / "tensorboard")
    yield logger
    logger.experiment.close()


@pytest.fixture
def csv(tmp_path: Path) -> Any:
    return CSVLogger(tmp_path / "csv")


@pytest.fixture
def unknown() -> Any:
    return Recorder()


@pytest.fixture
def filing() -> Any:
    return Filing()


FAST = ["csv", "tensorboard", "unknown", "filing", "wandb", "mlflow", "comet", "dvclive", "litlogger"]
KINDS = [*FAST, pytest.param("clearml", marks=pytest.mark.slow)]


@pytest.mark.parametrize("kind", KINDS)
def test_contract(
    kind: str,
    artifact: ONNXArtifact,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = request.getfixturevalue(kind)
    logged: list[tuple[dict[str, float], int | None]] = []
    original = type(logger).log_metrics

    def log_metrics(self: Any, metrics: dict[str, float], step: int | None = None, **options: Any) -> None:
        logged.append((dict(metrics), step))
        original(self, metrics, step, **options)

    monkeypatch.setattr(type(logger), "log_metrics", log_metrics)
    directory = tmp_path / "source" / "epoch=2: \"a\" 'b'.x%"
    shutil.copytree(artifact.directory, directory)
    given = ONNXArtifact.load(directory)
    before, manifest = _content(directory), json.dumps(given.manifest)
    aliases = list(HOSTILE)

    places = [publish(logger, given, aliases, step, register_as="digits/all: new") for step in (5, 6)]

    assert all(place is None or place for place in places), "a place for people, or None"
    assert logged == [(artifact.scalars(), 5), (artifact.scalars(), 6)], "scalars once, at the step"
    assert _content(directory) == before, "the artifact is left alone"
    assert (json.dumps(given.manifest), aliases) == (manifest, HOSTILE), "arguments are left alone"
    shutil.rmtree(directory.parent)  # nothing may be read later
    if kind == "comet":
        logger.experiment.end()


def _content(directory: Path) -> dict[str, Any]:
    return {str(path): describe_file(path) for path in sorted(directory.rglob("*")) if path.is_file()}
