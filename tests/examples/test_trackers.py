"""The examples of trackers, run as users do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trackers.reading import wandb
from tests.trackers.training import REPOSITORY

pytestmark = pytest.mark.slow


def _run(script: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("CACHE_DIR", "DATA_DIR", "CONFIG_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(root / name))
    command = [sys.executable, REPOSITORY / "examples" / script, root / "runs"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_mlflow_registry_returns_a_model_that_classifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = _run("mlflow_registry.py", tmp_path, monkeypatch)
    (right,) = re.findall(r"models:/digits@best: (\d+) of 360 right", output)
    assert int(right) > 300
    assert "'logits'" in output


def test_wandb_offline_leaves_an_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = _run("wandb_offline.py", tmp_path, monkeypatch)
    assert re.search(r"parity +passed", output)
    (run_dir,) = (tmp_path / "runs" / "wandb").glob("offline-run-*")
    assert (wandb(str(run_dir)) / "model.onnx").is_file()
