from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CometLogger

from lightning_onnx import ArtifactError, ONNXArtifact
from lightning_onnx.trackers import base, publish
from lightning_onnx.trackers.describe import summary
from tests.trackers.reading import comet_messages
from tests.trackers.training import assert_read_back, scalars_of, train

pytestmark = pytest.mark.slow


@pytest.fixture
def logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CometLogger:
    monkeypatch.setenv("COMET_START_ONLINE", "0")
    monkeypatch.setenv("COMET_DISABLE_AUTO_LOGGING", "1")
    monkeypatch.setenv("COMET_ERROR_TRACKING_ENABLE", "0")
    logger = CometLogger(
        offline_directory=str(tmp_path / "comet"),
        project="tests",
        log_code=False,
        log_git_metadata=False,
        log_env_details=False,
    )
    return logger


def _messages(logger: CometLogger, tmp_path: Path) -> list[tuple[str, dict[str, Any]]]:
    logger.experiment.end()
    (archive,) = (tmp_path / "comet").glob("*.zip")
    return comet_messages(archive)


def _others(messages: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    return {m["key"]: m["value"] for kind, m in messages if kind == "log_other" and m["key"].startswith("onnx/")}


def test_best_is_found_after_training(logger: CometLogger, tmp_path: Path) -> None:
    trained = train(tmp_path, logger)
    messages = _messages(logger, tmp_path)
    assert_read_back(trained, tmp_path, "comet", tmp_path / "comet")
    metrics = [m["metric"] for kind, m in messages if kind == "metric_msg"]
    ours = [m for m in metrics if m["metricName"].startswith("onnx/")]
    assert {m["metricName"]: m["metricValue"] for m in ours} == scalars_of(trained)
    assert {m["step"] for m in ours} == {3, trained.step}  # one for each checkpoint
    (page,) = [m for kind, m in messages if kind == "htmlOverride"]
    assert "ONNX export" in page["htmlOverride"]


def test_files_are_copied_at_once(logger: CometLogger, artifact: ONNXArtifact, tmp_path: Path) -> None:
    shutil.copytree(artifact.directory, tmp_path / "gone")
    publish(logger, ONNXArtifact.load(tmp_path / "gone"), ["best"], 1)
    shutil.rmtree(tmp_path / "gone")
    files = [m for kind, m in _messages(logger, tmp_path) if m.get("upload_type") == "model-element"]
    assert {m["additional_params"]["fileName"] for m in files} == {*artifact.manifest["files"], "manifest.json"}
    assert all(m["metadata"] == summary(artifact) for m in files)


def test_aliases_point_to_the_newest(logger: CometLogger, artifact: ONNXArtifact, tmp_path: Path) -> None:
    shutil.copytree(artifact.directory, tmp_path / "va/l:ue", dirs_exist_ok=True)
    publish(logger, artifact, ["latest", "best"], 1)
    publish(logger, ONNXArtifact.load(tmp_path / "va/l:ue"), ["latest", "a/b:c"], 2)
    messages = _messages(logger, tmp_path)
    assert _others(messages) == {
        "onnx/best": "onnx-epoch=2-step=9",
        "onnx/latest": "onnx-l-ue",
        "onnx/a-b-c": "onnx-l-ue",
    }
    assert not [m for kind, m in messages if kind == "register_model"]


def test_registers_with_register_as(logger: CometLogger, artifact: ONNXArtifact, tmp_path: Path) -> None:
    publish(logger, artifact, ["latest", "best"], 1, register_as="my/digits: new")
    (message,) = [m for kind, m in _messages(logger, tmp_path) if kind == "register_model"]
    assert message["model_name"] == "onnx-epoch=2-step=9"
    assert message["registry_name"] == "my-digits-new"
    assert message["tags"] == ["latest", "best"]


def test_files_that_comet_leaves_out_are_an_error(
    logger: CometLogger, artifact: ONNXArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(logger.experiment), "log_model", lambda *args, **kwargs: None)
    with pytest.raises(ArtifactError, match=r"took 0 of \d"):
        publish(logger, artifact, ["best"], 1)
    logger.experiment.end()


def test_disabled_experiment_says_so(
    artifact: ONNXArtifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("COMET_START_ONLINE", "0")
    base.say_once.cache_clear()
    logger = CometLogger(disabled=True)
    assert publish(logger, artifact, ["best"], 1) is None
    assert "COMET_START_ONLINE=0" in caplog.text
