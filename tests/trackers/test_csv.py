from __future__ import annotations

import csv
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger

from lightning_onnx import ONNXArtifact
from lightning_onnx.trackers import publish
from tests.trackers.conftest import Fit, same_files


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
    """Whoever publishes after fit is behind the logger's last save."""
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=100)
    logger.log_metrics({"loss": 1.0}, step=4)
    logger.finalize("success")
    publish(logger, artifact, [], 4)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        assert [row["onnx/parity_passed"] for row in csv.DictReader(file)] == ["", "1.0"]
