from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import dvc.api
import dvclive
import pytest
import yaml
from dvclive.lightning import DVCLiveLogger

from lightning_onnx import ArtifactError, ONNXArtifact
from lightning_onnx.trackers import base, publish
from tests.trackers.conftest import same_files
from tests.trackers.training import assert_read_back, scalars_of, train

pytestmark = pytest.mark.slow


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    monkeypatch.chdir(root)
    for person in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{person}_NAME", "test")
        monkeypatch.setenv(f"GIT_{person}_EMAIL", "test@example.com")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setattr(dvclive.Live, "post_data_to_studio", lambda self: None)  # its thread never ends
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc-site-cache"))
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    subprocess.run(["git", "commit", "-qm", "start"], check=True)
    return root


def test_best_is_found_after_training(repository: Path, tmp_path: Path) -> None:
    logger = DVCLiveLogger(dir="dvclive", exp_name="first")
    trained = train(tmp_path, logger)
    assert_read_back(trained, tmp_path, "dvclive", repository, "first")
    (entry,) = [e for e in dvc.api.exp_show(str(repository)) if e["Experiment"] == "first"]
    ours = {key.replace(".", "/"): value for key, value in entry.items() if key.startswith("onnx.")}
    assert ours == scalars_of(trained)
    history = dvc.api.read("dvclive/plots/metrics/onnx/parity_passed.tsv", repo=str(repository), rev="first")
    assert history.split() == ["step", "parity_passed", "3", "1.0", "6", "1.0"]


def test_names_are_the_aliases_and_move(
    repository: Path, artifact: ONNXArtifact, dynamo_artifact: ONNXArtifact
) -> None:
    logger = DVCLiveLogger(dir="live")
    publish(logger, artifact, ["latest", "best", "a/b:c", "Ω_"], 1)
    publish(logger, dynamo_artifact, ["latest"], 2)
    logger.experiment.make_dvcyaml()
    entries = yaml.safe_load((repository / "dvc.yaml").read_text())["artifacts"]
    old, new = "live/artifacts/epoch=2-step=9", "live/artifacts/dynamo"
    assert {name: entry["path"] for name, entry in entries.items()} == {
        "onnx-epoch-2-step-9": old,
        "onnx-best": old,
        "onnx-a-b-c": old,
        "onnx": old,
        "onnx-dynamo": new,
        "onnx-latest": new,
    }
    assert entries["onnx-best"]["meta"]["sha256"] == artifact.manifest["model"]["sha256"]
    assert entries["onnx-best"]["type"] == "model"
    assert same_files(repository / old, artifact)
    assert (repository / f"{old}.dvc").is_file()


def test_files_are_kept_without_a_repository(
    artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base.say_once.cache_clear()
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    logger = DVCLiveLogger(dir="live", save_dvc_exp=False)
    assert publish(logger, artifact, ["best"], 1) == "live/onnx/epoch=2-step=9"
    assert same_files(tmp_path / "live/onnx/epoch=2-step=9", artifact)
    assert "dvc init" in caplog.text


def test_files_that_dvclive_leaves_out_are_an_error(
    repository: Path, artifact: ONNXArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = DVCLiveLogger(dir="live")
    monkeypatch.setattr(type(logger.experiment), "log_artifact", lambda *args, **kwargs: None)
    with pytest.raises(ArtifactError, match="did not copy"):
        publish(logger, artifact, ["best"], 1)
