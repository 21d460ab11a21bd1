"""Trackio asks for an older Pillow than other extras, so that it runs in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_onnx import RuntimeUnavailable, TrackioLogger
from tests.trackers.training import REPOSITORY
from tests.zoo.isolated.environment import python_of
from tests.zoo.isolated.library import Library

TRACKIO = Library("trackio", cases=(), requires=("trackio>=0.43",))


def in_environment(python: Path, what: str, root: Path) -> dict[str, Any]:
    """Run a function of ``trackio_run.py`` with Trackio's store below ``root``, and return what it wrote."""
    environment = {
        **os.environ,
        "TRACKIO_DIR": str(root / "store"),
        "PYTHONPATH": str(REPOSITORY),
        "HF_HUB_OFFLINE": "1",
    }
    command = [str(python), "-m", "tests.trackers.trackio_run", what, str(root)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((root / f"{what}.json").read_text())
    return found


@pytest.mark.slow
def test_a_run_is_read_back_from_the_local_store(tmp_path: Path) -> None:
    python = python_of(TRACKIO, REPOSITORY / "build" / "libraries")
    trained = in_environment(python, "train", tmp_path)
    (tmp_path / "inputs.json").write_text(json.dumps(trained["inputs"]))
    found = in_environment(python, "read", tmp_path)
    assert found["manifest"] == trained["manifest"]
    assert set(trained["manifest"]["files"]) | {"manifest.json"} == set(found["files"])
    np.testing.assert_allclose(found["outputs"], trained["outputs"], rtol=1e-4, atol=1e-5)
    assert found["aliases"] == dict.fromkeys(("latest", "epoch-3", "onnx-v3", "other"), "onnx-first")
    assert trained["published"][:2] == ["Trackio artifact onnx-first"] * 2
    assert trained["published"][2].startswith("Trackio file onnx-first-epoch-")
    assert found["archived"].keys() == set(found["files"])
    scalars = {f"onnx/{name}": float(value) for name, value in trained["manifest"]["scalars"].items()}
    logged = {name: (row[name], row["step"]) for row in found["logs"] for name in row if name.startswith("onnx/")}
    assert {name: value for name, (value, _) in logged.items()} == pytest.approx(scalars)
    assert {row["step"] for row in found["logs"] if "loss" in row} == set(range(6))
    assert (found["config"]["rate"], found["config"]["layers"]) == (0.1, "[1, 2]")


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    logger = TrackioLogger("digits", name="run")
    assert (logger.name, logger.version) == ("digits", "run")
    logger.finalize("success")  # nothing was started
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'lightning-onnx\[trackio\]'"):
        logger.log_metrics({"loss": 1.0}, step=0)
