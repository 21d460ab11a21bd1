"""What stands in an artifact's name is what it holds, also after a run was killed and resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_onnx import ONNXArtifact, ONNXExport
from lightning_onnx.artifacts import staging
from lightning_onnx.artifacts.index import IndexEntry, write_index
from lightning_onnx.artifacts.store import Store
from lightning_onnx.training.checkpoint_follower import CheckpointFollower, Saved
from lightning_onnx.training.resuming import Earlier, adopt_earlier, remove_overwritten
from tests import models

Make = Callable[..., ONNXArtifact]


@pytest.fixture
def make(exported: ONNXArtifact, tmp_path: Path) -> Make:
    """Makes the artifact of a checkpoint at a step, as a run does."""

    def made(store: Store, name: str, step: int, checkpoint: str | None = None) -> ONNXArtifact:
        record = exported.record
        source = dataclasses.replace(record.source, checkpoint=checkpoint or f"{name}.ckpt", global_step=step)
        with staging.stage(store.local) as staged:
            (staged / "model.onnx").write_bytes(exported.model_path.read_bytes())
            artifact = staging.commit(staged, dataclasses.replace(record, source=source), store.local / name, "version")
        store.add(str(tmp_path / "ck" / f"{artifact.name}.ckpt"), artifact)
        return artifact

    return made


def save(tmp_path: Path, name: str, step: int) -> str:
    path = tmp_path / "ck" / f"{name}.ckpt"
    path.parent.mkdir(exist_ok=True)
    torch.save({"state_dict": {}, "global_step": step}, path)
    return str(path)


def follower(last: str, *others: str) -> CheckpointFollower:
    checkpoint = ModelCheckpoint(Path(last).parent, save_last=True)
    checkpoint.last_model_path = last
    checkpoint.best_k_models = dict.fromkeys(others, torch.tensor(1.0))
    return CheckpointFollower(checkpoint)


def resumed(tmp_path: Path, earlier: Earlier, *paths: str) -> tuple[Store, list[Saved]]:
    """The store of the later part of the run, and what it has to export."""
    store, followed = Store(str(tmp_path / "onnx")), follower(*paths)
    store.open()
    adopt_earlier(store, followed, earlier)
    return store, followed.look()


@pytest.mark.parametrize("is_indexed", [True, False])
@pytest.mark.parametrize("knows_owner", [True, False])
@pytest.mark.parametrize("knows_name", [True, False])
def test_an_outdated_artifact_makes_room(
    is_indexed: bool, knows_owner: bool, knows_name: bool, tmp_path: Path, make: Make
) -> None:
    """The run was killed after last.ckpt was written again and before it was exported again."""
    first = Store(str(tmp_path / "onnx"))
    first.open()
    make(first, "last", 8)
    make(first, "a", 4)
    if is_indexed:
        first.write_index(None)
    last, a = save(tmp_path, "last", 12), save(tmp_path, "a", 4)
    names, owner = {"last.ckpt": "last"} if knows_name else {}, first.owner if knows_owner else None
    earlier = Earlier(names, owner, is_known=True)
    store, due = resumed(tmp_path, earlier, last, a)
    assert [saved.name for saved in due] == ["last.ckpt"]
    assert store.names() == ["a"]
    assert [artifact.name for artifact in store.artifacts.values()] == ["a"]
    assert not is_indexed or store.owner == first.owner
    with store.place(last, "last") as (directory, _):
        assert directory.name == "last"


def test_other_runs_keep_theirs(tmp_path: Path, make: Make) -> None:
    """They have checkpoints of the same names in another directory."""
    first, other = Store(str(tmp_path / "onnx")), Store(str(tmp_path / "onnx"))
    first.open()
    make(first, "last", 8)
    first.write_index(None)
    make(other, "last", 6, checkpoint="last.ckpt")
    other.write_index(None)
    make(other, "last", 9, checkpoint="last.ckpt")  # not in the index yet
    for earlier in (Earlier({}, first.owner), Earlier({"last.ckpt": "last-v1"}, first.owner)):
        store, due = resumed(tmp_path, earlier, save(tmp_path, "last", 8))
        assert (due, [a.name for a in store.artifacts.values()]) == ([], ["last"])
        assert store.names() == ["last", "last-v1", "last-v2"]
    store, _ = resumed(tmp_path, Earlier({}, first.owner), save(tmp_path, "last", 12))
    assert store.names() == ["last-v1", "last-v2"]
    store, _ = resumed(tmp_path, Earlier({}, "of another directory"), save(tmp_path, "last", 16))
    assert store.names() == ["last-v1", "last-v2"]


def test_an_index_that_was_replaced_costs_no_artifact(tmp_path: Path, make: Make) -> None:
    """It lists only what others made: the checkpoint still tells which artifacts are this run's."""
    first = Store(str(tmp_path / "onnx"))
    first.open()
    make(first, "last", 8)
    make(first, "a", 4)
    other = Store(str(tmp_path / "onnx"))
    make(other, "last", 6, checkpoint="last.ckpt")
    write_index(str(tmp_path / "onnx" / "index.json"), [IndexEntry("b", True, True, None, 1, 2, None, None, "x")])
    earlier = Earlier({"last.ckpt": "last", "a.ckpt": "a"}, first.owner, is_known=True)
    store, due = resumed(tmp_path, earlier, save(tmp_path, "last", 12), save(tmp_path, "a", 4))
    assert [saved.name for saved in due] == ["last.ckpt"]
    assert store.names() == ["a", "last-v1"]


def test_a_checkpoint_that_is_not_known_any_more(tmp_path: Path, make: Make) -> None:
    """It was saved after the one that the run is resumed from, and later written again."""
    first = Store(str(tmp_path / "onnx"))
    first.open()
    for name in ("a", "b", "c", "d"):
        make(first, name, 4)
    first.write_index(None)
    paths = [save(tmp_path, "a", 4), save(tmp_path, "b", 4), save(tmp_path, "c", 12)]
    store, due = resumed(tmp_path, Earlier({}, first.owner), paths[0])
    assert due == []
    assert store.names() == ["a", "b", "d"], "d's checkpoint is gone: the artifact is all that is left"
    assert list(store.artifacts) == [paths[0]]


def test_a_checkpoint_that_cannot_be_read_costs_no_artifact(tmp_path: Path, make: Make) -> None:
    first = Store(str(tmp_path / "onnx"))
    first.open()
    make(first, "last", 8)
    first.write_index(None)
    last = save(tmp_path, "last", 12)
    Path(last).write_bytes(b"half")
    store, due = resumed(tmp_path, Earlier({}, first.owner), last)
    assert ([saved.name for saved in due], store.artifacts, store.names()) == (["last.ckpt"], {}, ["last"])


def test_overwritten_checkpoints(tmp_path: Path, make: Make) -> None:
    store = Store(str(tmp_path / "onnx"))
    store.open()
    make(store, "a", 4)
    make(store, "b", 4)
    remove_overwritten(
        store, [Saved(save(tmp_path, n, step), None, None) for n, step in (("a", 8), ("b", 4), ("c", 8))]
    )
    assert store.names() == ["b"]


def test_the_state(tmp_path: Path, make: Make) -> None:
    store = Store(str(tmp_path / "onnx"))
    store.open()
    make(store, "a", 4)
    assert Earlier.read(Earlier.state(store)) == Earlier({"a.ckpt": "a"}, store.owner, is_known=True)
    assert Earlier.read(Earlier.state(None)) == Earlier(is_known=True)


def test_a_checkpoint_without_a_state_of_the_callback_claims_no_artifact(tmp_path: Path, make: Make) -> None:
    """A run that is resumed from elsewhere, in a directory with the artifact of another run."""
    other = Store(str(tmp_path / "onnx"))
    other.open()
    make(other, "last", 6, checkpoint="last.ckpt")
    other.write_index(None)
    store, due = resumed(tmp_path, Earlier(), save(tmp_path, "last", 12))
    assert store.owner != other.owner
    assert [saved.name for saved in due] == ["last.ckpt"]
    assert store.names() == ["last"]


class Stops(models.Classifier):
    """Stops the training when the checkpoint of a step was written: by an exception, or by killing the process."""

    step, is_killed = 0, False

    def on_train_batch_end(self, *args: Any) -> None:
        if self.global_step == self.step:
            if self.is_killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("stopped")


def train(tmp_path: Path, module: Any, path: Any = None, **options: Any) -> ONNXExport:
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint", **options)
    checkpoint = ModelCheckpoint(tmp_path / "ck", every_n_train_steps=1, save_last=True)
    trainer = Trainer(
        callbacks=[callback, checkpoint], max_epochs=4, accelerator="cpu", logger=False, enable_progress_bar=False
    )
    trainer.fit(module, module.batches(), ckpt_path=path)
    return callback


def assert_each_holds_its_checkpoint(tmp_path: Path) -> list[str]:
    names = sorted(p.name for p in (tmp_path / "onnx").iterdir() if p.is_dir() and not p.name.startswith("."))
    for name in names:
        source = ONNXArtifact.load(tmp_path / "onnx" / name).record.source
        path = tmp_path / "ck" / str(source.checkpoint)
        assert source.checkpoint == f"{name}.ckpt"
        assert source.global_step == torch.load(path, weights_only=True)["global_step"]
    return names


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "ck" / "last.ckpt"
    child = subprocess.run([sys.executable, __file__, str(tmp_path)], timeout=200, check=False)
    assert child.returncode == -signal.SIGKILL
    assert torch.load(path, weights_only=True)["global_step"] == 3
    (tmp_path / "onnx" / "index.json.1").touch()
    callback = train(tmp_path, models.Classifier(), path)
    assert callback.failures == []
    names = assert_each_holds_its_checkpoint(tmp_path)
    assert names == sorted(p.stem for p in (tmp_path / "ck").iterdir())
    assert "last" in names
    entries = json.loads((tmp_path / "onnx" / "index.json").read_text())["artifacts"]
    assert len({entry["owner"] for entry in entries}) == 1
    assert {p.name for p in (tmp_path / "onnx").iterdir()} == {*names, "index.json"}


@pytest.mark.slow
@pytest.mark.parametrize("on_exception", [True, False])
def test_stopped_by_an_exception(on_exception: bool, tmp_path: Path) -> None:
    module = Stops()
    module.step = 3
    with pytest.raises(RuntimeError, match="stopped"):
        train(tmp_path, module, on_exception=on_exception)
    assert ("last" in assert_each_holds_its_checkpoint(tmp_path)) == on_exception


@pytest.mark.slow
def test_two_runs_in_a_row(fit: Any, tmp_path: Path) -> None:
    for _ in range(2):
        callback = ONNXExport(tmp_path / "onnx", "same")
        fit(models.Classifier(), callback, ModelCheckpoint(tmp_path / "ck", monitor="val_loss"))
        assert callback.failures == []
    entries = json.loads((tmp_path / "onnx" / "index.json").read_text())["artifacts"]
    assert [(entry["directory"], entry["best"]) for entry in entries] == [("same", True), ("same-v1", True)]


if __name__ == "__main__":  # the run that is killed
    stops = Stops()
    stops.step, stops.is_killed = 3, True
    train(Path(sys.argv[1]), stops)
