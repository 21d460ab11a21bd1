"""The directories of a configured Trainer's runs, whether loggers and callbacks are objects or in a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_onnx.training.run_directories import run_directories

USUAL = [Path("lightning_logs"), Path("checkpoints")]


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({}, USUAL),
        ({"default_root_dir": "a"}, [Path("a/lightning_logs"), Path("a/checkpoints")]),
        ({"logger": True, "callbacks": [EarlyStopping("loss")]}, USUAL),
        ({"logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "runs"}}}, [Path("runs")]),
        ({"logger": CSVLogger("runs"), "default_root_dir": "a"}, [Path("runs")]),
        ({"logger": [CSVLogger("runs"), CSVLogger("more")]}, [Path("runs"), Path("more")]),
        (
            {"callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"dirpath": "saved"}}]},
            [*USUAL, Path("saved")],
        ),
        ({"callbacks": {"init_args": {"dirpath": Path("saved")}}}, [*USUAL, Path("saved")]),
    ],
)
def test_directories(trainer: dict[str, Any], expected: list[Path]) -> None:
    assert run_directories(trainer) == expected


def test_callbacks_from_elsewhere(tmp_path: Path) -> None:
    trainer = {"logger": CSVLogger("runs"), "callbacks": [ModelCheckpoint(tmp_path / "a")]}
    callbacks = [ModelCheckpoint(tmp_path / "b"), {"dirpath": "c", "monitor": "loss"}]
    assert run_directories(trainer, callbacks) == [Path("runs"), tmp_path / "a", tmp_path / "b", Path("c")]
