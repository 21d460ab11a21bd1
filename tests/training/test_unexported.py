"""A worse model never takes the place of the best one that could not be exported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO

from lightning_onnx import ArtifactError, ONNXArtifact, ONNXExport
from lightning_onnx.artifacts.store import Store
from lightning_onnx.training.checkpoint_follower import CheckpointFollower
from lightning_onnx.training.fit_log import FitLog
from lightning_onnx.training.options import CallbackConfig
from lightning_onnx.training.unexported import Unexported
from tests import models


class Registry(DummyLogger):
    """Stores what it is given, with the steps of the weights and the aliases."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[int | None, list[str], str | None]] = []

    def log_onnx_artifact(
        self, artifact: ONNXArtifact, aliases: Sequence[str], step: int, register_as: str | None = None
    ) -> None:
        self.given.append((artifact.manifest["source"]["global_step"], list(aliases), register_as))


class Improves(models.Classifier):
    """Its loss falls, so the checkpoint of the second epoch is the best; then it rises again."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])
        self.log("val_loss", torch.tensor([3.0, 1.0, 2.0][self.current_epoch]))


class Spoils(ModelCheckpoint):
    """Another program truncates or deletes the checkpoint of the second epoch as soon as it is saved."""

    how = "truncated"

    def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        if trainer.current_epoch == 1:
            path = Path(filepath)
            path.unlink() if self.how == "deleted" else path.write_bytes(path.read_bytes()[:1000])


def spoiled(fit: Any, tmp_path: Path, how: str, kept: int = -1, **options: Any) -> tuple[ONNXExport, Registry]:
    callback = ONNXExport(tmp_path / "onnx", preflight="warn", register_as="net", **options)
    checkpoint, registry = Spoils(tmp_path / "ck", monitor="val_loss", save_top_k=kept), Registry()
    checkpoint.how = how
    fit(Improves(), callback, checkpoint, logger=registry, max_epochs=3)
    assert checkpoint.best_model_path.endswith("epoch=1-step=4.ckpt")
    return callback, registry


@pytest.mark.slow
@pytest.mark.parametrize("when", ["checkpoint", "fit_end"])
@pytest.mark.parametrize("how", ["truncated", "deleted"])
@pytest.mark.parametrize("kept", [-1, 1])
def test_no_other_takes_its_place(how: str, when: str, kept: int, fit: Any, tmp_path: Path) -> None:
    callback, registry = spoiled(fit, tmp_path, how, kept, when=when)
    assert registry.given == []
    assert callback.artifact is None
    assert sum(f.startswith("export of epoch=1-step=4.ckpt failed") for f in callback.failures) == 1
    refused = callback.failures[-1]
    assert refused.startswith("the best checkpoint 'epoch=1-step=4.ckpt' could not be exported: WeightsError: ")
    assert refused.endswith("; nothing was registered")
    assert [a.name for a in callback.artifacts] == (
        ["epoch=0-step=2", "epoch=2-step=6"] if when == "checkpoint" and kept == -1 else []
    )
    assert '"best": true' not in ((tmp_path / "onnx" / "index.json").read_text() if callback.artifacts else "")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["truncated", "deleted"])
def test_no_later_one_is_called_the_best(how: str, fit: Any, tmp_path: Path) -> None:
    callback, registry = spoiled(fit, tmp_path, how, when="checkpoint", log_artifacts="all", background=False)
    assert registry.given == [(2, ["latest", "epoch=0", "best"], "net"), (6, ["latest", "epoch=2"], None)]
    assert callback.failures[-1].endswith("; nothing was registered in its place")


@pytest.mark.slow
def test_the_failure_is_raised_on_request(fit: Any, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="was deleted before it was exported"):
        spoiled(fit, tmp_path, "deleted", when="checkpoint", on_failure="raise")


@pytest.mark.slow
def test_an_overwritten_checkpoint_that_cannot_be_read_has_no_artifact(fit: Any, tmp_path: Path) -> None:
    """The artifact of the first epoch has the name of the file that holds half of the second."""
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint", register_as="net")
    checkpoint = Spoils(tmp_path / "ck", "model", monitor="val_loss", enable_version_counter=False)
    registry = Registry()
    fit(Improves(), callback, checkpoint, logger=registry, max_epochs=2)
    assert (callback.artifact, callback.artifacts, registry.given) == (None, [], [])
    assert not (tmp_path / "onnx" / "model").exists()


class Slow(TorchCheckpointIO):
    """Writes its last file when the end of fit has begun."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        import time

        time.sleep(0.5)
        super().save_checkpoint(checkpoint, path, storage_options)


@pytest.mark.slow
def test_an_asynchronous_writer_is_waited_for(fit: Any, tmp_path: Path) -> None:
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    checkpoint = ModelCheckpoint(tmp_path / "ck", monitor="val_loss", save_top_k=-1)
    fit(Improves(), callback, checkpoint, max_epochs=2, plugins=[AsyncCheckpointIO(Slow())])
    assert callback.failures == []
    assert callback.artifact is not None
    assert callback.artifact.name == "epoch=1-step=4"


def test_reasons(tmp_path: Path) -> None:
    log = FitLog()
    unexported, options = Unexported(log), CallbackConfig(register_as="net")
    checkpoint = ModelCheckpoint(tmp_path)
    checkpoint.best_k_models = {
        str(tmp_path / "a.ckpt"): torch.tensor(1.0),
        str(tmp_path / "b.ckpt"): torch.tensor(2.0),
    }
    (tmp_path / "b.ckpt").touch()
    with pytest.warns(UserWarning, match="ONNX export of a.ckpt failed: WeightsError: 'a.ckpt' was deleted before"):
        unexported.look_for_deleted(CheckpointFollower(checkpoint), Store(str(tmp_path), "me"))
    with pytest.warns(UserWarning, match="the best checkpoint 'b.ckpt' could not be exported: it was not exported; "):
        unexported.refuse(str(tmp_path / "b.ckpt"), CallbackConfig())
    assert log.failures[-1].endswith("nothing was published")
    with pytest.warns(UserWarning, match="ONNX export of the live weights failed"):
        unexported.record("", ArtifactError("full"))
    unexported.refuse("", options)
    assert len(log.failures) == 3
    assert len(log.errors) == 2
