"""Log directories: CSVLogger, and loggers without their own tracker."""

from __future__ import annotations

import csv
import logging
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger

from lightning_onnx import ArtifactError, ONNXArtifact
from lightning_onnx.trackers import base, publish
from lightning_onnx.trackers.files import copy_below
from tests.trackers.conftest import Fit, same_files
from tests.trackers.training import assert_read_back, train


class Plain(Logger):
    """A logger without a tracker."""

    def __init__(self, save_dir: Any = None, version: int | str = 0) -> None:
        super().__init__()
        self._save_dir, self._version = save_dir, version
        self.logged: list[tuple[dict[str, float], int | None]] = []

    @property
    def save_dir(self) -> Any:
        return self._save_dir

    @property
    def name(self) -> str:
        return "plain"

    @property
    def version(self) -> int | str:
        return self._version

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged.append((metrics, step))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


class WithLogDir(Plain):
    @property
    def log_dir(self) -> Any:
        return self.save_dir / "of-the-run"


@pytest.fixture(autouse=True)
def _not_said_before() -> None:
    base.say_once.cache_clear()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


@pytest.mark.parametrize(
    ("logger", "run"),
    [(WithLogDir, "of-the-run"), (Plain, "plain/version_0"), (lambda d: Plain(str(d), "best"), "plain/best")],
    ids=["log_dir", "save_dir", "save_dir as text"],
)
def test_unknown_logger_gets_scalars_and_files(
    logger: Any, run: str, artifact: ONNXArtifact, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    made = logger(tmp_path)
    place = tmp_path / run / "onnx" / artifact.name
    assert publish(made, artifact, ["best"], 5) == publish(made, artifact, ["best"], 6) == str(place)
    assert same_files(place, artifact)
    assert made.logged == [(artifact.scalars(), 5), (artifact.scalars(), 6)]
    (line,) = [message for message in said.messages if "no tracker of its own" in message]
    assert type(made).__name__ in line
    assert str(place.parent) in line


def test_unknown_logger_without_a_directory_gets_scalars(
    artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    logger = Plain()
    assert publish(logger, artifact, [], 5) is None
    assert logger.logged == [(artifact.scalars(), 5)]
    assert not list(tmp_path.iterdir())
    assert "no files" in said.text


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_copy_replaces_existing_files(prefix: str, artifact: ONNXArtifact, tmp_path: Path) -> None:
    place = tmp_path / "onnx" / artifact.name
    place.mkdir(parents=True)
    for name in ("of another export", "manifest.json"):
        (place / name).touch()
    assert copy_below(artifact, f"{prefix}{tmp_path}") == str(place)
    assert same_files(place, artifact)
    assert [p.name for p in place.parent.iterdir()] == [artifact.name]
    assert place.stat().st_mode == artifact.directory.stat().st_mode


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_artifact_that_is_already_there_is_unchanged(
    prefix: str, artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "log" / "onnx" / "mine"
    shutil.copytree(artifact.directory, place)
    (tmp_path / "link").symlink_to(tmp_path / "log")
    monkeypatch.chdir(tmp_path)
    inode = place.stat().st_ino
    for log_dir in (tmp_path / "log", tmp_path / "link"):
        copy_below(ONNXArtifact.load("log/onnx/mine"), f"{prefix}{log_dir}")
    assert place.stat().st_ino == inode
    assert same_files(place, artifact)


def test_a_failed_copy_keeps_existing_files(artifact: ONNXArtifact, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / artifact.name
    shutil.copytree(artifact.directory, broken)
    (broken / "dangling").symlink_to("nowhere")
    copy_below(artifact, tmp_path)
    with pytest.raises(shutil.Error, match="dangling"):
        copy_below(ONNXArtifact.load(broken), tmp_path)
    assert same_files(tmp_path / "onnx" / artifact.name, artifact)
    assert [p.name for p in (tmp_path / "onnx").iterdir()] == [artifact.name]


def test_what_is_no_artifact_is_not_replaced(artifact: ONNXArtifact, tmp_path: Path) -> None:
    """The log directory became a link to something else."""
    precious = tmp_path / "precious" / artifact.name / "file"
    precious.parent.mkdir(parents=True)
    precious.touch()
    (tmp_path / "onnx").symlink_to(tmp_path / "precious")
    with pytest.raises(ArtifactError, match="is not an artifact, and is not replaced"):
        copy_below(artifact, tmp_path)
    assert precious.exists()


def test_copy_to_a_url(artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memory = fsspec.filesystem("memory")
    memory.pipe(f"/logs/onnx/{artifact.name}/of another export", b"")
    assert copy_below(artifact, "memory://logs/") == f"memory://logs/onnx/{artifact.name}"
    memory.get(f"/logs/onnx/{artifact.name}/", "copy", recursive=True)
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]
    assert same_files(tmp_path / "copy", artifact)


@pytest.mark.slow
def test_best_is_found_after_training(tmp_path: Path) -> None:
    loggers: list[Any] = [TensorBoardLogger(tmp_path / "tb"), CSVLogger(tmp_path / "csv"), Plain(tmp_path / "plain")]
    trained = train(tmp_path, *loggers)
    for run_dir in (loggers[0].log_dir, loggers[1].log_dir, "plain/plain/version_0"):
        assert_read_back(trained, tmp_path, "plain", tmp_path / run_dir / "onnx" / trained.name)
    assert [step for metrics, step in loggers[2].logged if "onnx/parity_passed" in metrics] == [3, trained.step]


def test_files_lie_below_the_log_dir(fit: Fit, artifact: ONNXArtifact) -> None:
    place = fit.csv / "onnx" / artifact.name
    assert fit.places[1] == str(place)
    assert same_files(place, artifact)


def test_scalars_are_in_metrics_csv(fit: Fit, artifact: ONNXArtifact) -> None:
    with (fit.csv / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    (row,) = [row for row in rows if row["onnx/parity_passed"]]
    assert {key: float(row[key]) for key in artifact.scalars()} == pytest.approx(artifact.scalars())
    assert int(row["step"]) == fit.step == 1
    assert any(row["loss"] for row in rows)


def test_scalars_reach_the_file_at_once(artifact: ONNXArtifact, tmp_path: Path) -> None:
    """Publishing after fit happens after the logger's last save."""
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=100)
    logger.log_metrics({"loss": 1.0}, step=4)
    logger.finalize("success")
    publish(logger, artifact, [], 4)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        assert [row["onnx/parity_passed"] for row in csv.DictReader(file)] == ["", "1.0"]
