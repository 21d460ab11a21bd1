from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from lightning.pytorch.loggers import WandbLogger
from wandb.sdk.artifacts._validators import ArtifactPath, validate_aliases, validate_artifact_name

from lightning_onnx import ONNXArtifact
from lightning_onnx.trackers import publish
from tests.trackers.reading import wandb_records
from tests.trackers.training import assert_read_back, scalars_of, train

pytestmark = pytest.mark.slow

HOSTILE = ["latest", "epoch=3", "a/b:c", "v3", "Ω\n", "x" * 300]


@pytest.fixture
def logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbLogger]:
    for name in ("CACHE_DIR", "DATA_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / name))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_X_SAVE_REQUIREMENTS", "false")  # each run would read what is installed
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "logs").mkdir()
    yield WandbLogger(save_dir=tmp_path / "logs", project="tests", offline=True)
    _finish()


def _finish() -> None:
    """End the run and wandb's process: the run's file is complete only after this process ends."""
    wandb.finish()
    wandb.teardown()


def _run_dir(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "logs" / "wandb").glob("offline-run-*")
    return found


def test_best_is_found_after_training(logger: WandbLogger, tmp_path: Path) -> None:
    trained = train(tmp_path, logger)
    _finish()
    assert_read_back(trained, tmp_path, "wandb", _run_dir(tmp_path))
    rows = _history(_run_dir(tmp_path))
    *_, row = [row for row in rows if "onnx/parity_passed" in row]  # one for each checkpoint
    assert {key: row[key] for key in row if key.startswith("onnx/")} == scalars_of(trained)
    assert row["trainer/global_step"] == trained.step == 6
    (page,) = [row for row in rows if any(key.startswith("onnx/report") for key in row)]
    assert page["trainer/global_step"] == 6
    (html,) = _run_dir(tmp_path).rglob("*.html")
    assert "ONNX export" in html.read_text()


def _history(run_dir: Path) -> list[dict[str, Any]]:
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in wandb_records(run_dir)
        if record.HasField("history")
    ]


def test_hostile_names_are_made_valid(logger: WandbLogger, artifact: ONNXArtifact, tmp_path: Path) -> None:
    publish(logger, artifact, HOSTILE, 4)
    _finish()
    records = [r.artifact for r in wandb_records(_run_dir(tmp_path)) if r.HasField("artifact")]
    (logged,) = [r for r in records if r.name.startswith("onnx-")]
    assert set(logged.aliases) == {"latest", "epoch=3", "a-b-c", "alias-v3", "onnx", "x" * 128}
    assert validate_aliases(logged.aliases)
    assert validate_artifact_name(logged.name) == f"onnx-{logger.version}"
    assert logged.type == "model"
    assert json.loads(logged.metadata)["model"] == artifact.manifest["model"]


def test_offline_says_how_to_register(
    logger: WandbLogger, artifact: ONNXArtifact, recwarn: pytest.WarningsRecorder
) -> None:
    assert publish(logger, artifact, ["best"], 4, register_as="digits") == f"W&B artifact onnx-{logger.version}"
    (line,) = [str(w.message) for w in recwarn if "registry" in str(w.message)]
    assert f"tests/onnx-{logger.version}:best').link('wandb-registry-model/digits')" in line


@pytest.mark.parametrize(
    ("register_as", "target"),
    [
        ("digits", "wandb-registry-model/digits"),
        ("my digits: all", "wandb-registry-model/my-digits-all"),
        ("wandb-registry-vision/digits", "wandb-registry-vision/digits"),
    ],
)
def test_registers_by_a_link(
    register_as: str,
    target: str,
    logger: WandbLogger,
    artifact: ONNXArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The registry is on W&B's server: the test looks at what is sent to it."""
    signature = inspect.signature(wandb.Run.link_artifact)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(wandb.Run, "link_artifact", lambda *a, **k: sent.append(signature.bind(*a, **k).arguments))
    monkeypatch.setattr(wandb.Run, "offline", False)
    publish(logger, artifact, ["latest", "best"], 4, register_as=register_as)
    (link,) = sent
    assert link["target_path"] == target
    assert link["aliases"] == ["best"]
    assert link["artifact"].name.startswith("onnx-")
    assert ArtifactPath.from_str(link["target_path"]).is_registry_path()


def test_nothing_is_registered_without_register_as(
    logger: WandbLogger, artifact: ONNXArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb.Run, "link_artifact", lambda *a, **k: pytest.fail("linked"))
    monkeypatch.setattr(wandb.Run, "offline", False)
    publish(logger, artifact, ["best"], 4)


def test_works_when_wandb_is_disabled(
    artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    publish(WandbLogger(save_dir=tmp_path), artifact, ["best"], 1)
    _finish()
    assert not list(tmp_path.rglob("*.wandb"))
