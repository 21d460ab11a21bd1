"""Which checkpoint ``best`` and ``last`` are, by files as ``ModelCheckpoint`` and this package write them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_onnx import ConfigurationError
from lightning_onnx.training.best_checkpoint import find_checkpoint


def written(path: Path, age: int, **states: Any) -> Path:
    """Write a checkpoint that is so many seconds old, with states of callbacks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {}, "callbacks": states} if states else {"state_dict": {}}, path)
    os.utime(path, (10**9 - age, 10**9 - age))
    return path


def test_the_state_of_the_newest_checkpoint_of_the_newest_run_decides(tmp_path: Path) -> None:
    old = written(tmp_path / "logs/version_0/checkpoints/old.ckpt", 90)
    best = written(tmp_path / "logs/version_1/checkpoints/best.ckpt", 50)
    states = {
        "A": {"monitor": None, "best_model_path": str(old)},
        "B": {"monitor": "val_loss", "best_model_path": str(best)},
        "C": {"patience": 3},
    }
    newest = written(tmp_path / "logs/version_1/checkpoints/newest.ckpt", 10, **states)
    assert find_checkpoint("best", [tmp_path / "missing", tmp_path / "logs"]) == best
    assert find_checkpoint("last", [tmp_path / "logs"]) == newest


def test_a_run_that_was_moved(tmp_path: Path) -> None:
    best = written(tmp_path / "here/best.ckpt", 50)
    written(tmp_path / "here/last.ckpt", 10, A={"monitor": "x", "best_model_path": "/elsewhere/best.ckpt"})
    assert find_checkpoint("best", [tmp_path]) == best


def test_the_index_of_the_artifacts(tmp_path: Path) -> None:
    best = written(tmp_path / "run/checkpoints/a.ckpt", 50)
    written(tmp_path / "run/checkpoints/b.ckpt", 10)
    with pytest.raises(ConfigurationError, match=r"ckpt_path='best': neither .*b\.ckpt nor an index\.json says which"):
        find_checkpoint("best", [tmp_path])
    entry = dict.fromkeys(("epoch", "global_step", "monitor", "score"))
    entries = [
        {"directory": name, "best": name == "a", "passed": True, "checkpoint": f"{name}.ckpt", **entry, "owner": ""}
        for name in ("b", "a")
    ]
    (tmp_path / "run/onnx").mkdir()
    (tmp_path / "run/onnx/index.json").write_text(json.dumps({"artifacts": entries}))
    assert find_checkpoint("best", [tmp_path]) == best


def test_the_only_one_is_the_best(tmp_path: Path) -> None:
    only = written(tmp_path / "only.ckpt", 10)
    assert find_checkpoint("best", [tmp_path]) == only


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no checkpoint below .*Give the path of one"):
        find_checkpoint("last", [tmp_path])


@pytest.mark.parametrize(
    "named", ["{tmp}/other/c.ckpt", "../../other/c.ckpt", "c.ckpt", "..", "a" * 5_000, "a\0.ckpt", ""]
)
def test_an_index_leads_to_no_checkpoint_elsewhere(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "run/checkpoints/a.ckpt", 50)
    written(tmp_path / "run/checkpoints/b.ckpt", 10)
    monkeypatch.chdir(written(tmp_path / "other/c.ckpt", 90).parent)
    entry = dict.fromkeys(("epoch", "global_step", "monitor", "score"))
    best = {"directory": "a", "best": True, "passed": True, "checkpoint": named.format(tmp=tmp_path), **entry}
    (tmp_path / "run/onnx").mkdir()
    (tmp_path / "run/onnx/index.json").write_text(json.dumps({"artifacts": [{**best, "owner": ""}]}))
    with pytest.raises(ConfigurationError, match="says which checkpoint of its run is the best"):
        find_checkpoint("best", [tmp_path / "run"])
