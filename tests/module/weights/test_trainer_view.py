"""The copy sees the Trainer of the run, but does not affect the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import MetricParity, ONNXExport, Parity
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.trainer_view import show_moment, views_of
from tests import outside


class Data(pl.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.tensor([1.0, 2.0, 3.0])
        self.uses = 0

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.randn(8, 3)), 4)

    val_dataloader = train_dataloader


class Reaches(pl.LightningModule):
    """Reads its Trainer in forward, and logs there."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)
        self.epochs: list[int] = []

    def forward(self, x: Any) -> Any:
        assert self.trainer.lightning_module is self
        self.trainer.datamodule.uses += 1
        if self.logger is not None:
            self.logger.log_metrics({"forward": 1.0})
            _ = self.logger.experiment
        return self.net(x * self.trainer.datamodule.scale) + self.current_epoch * 10

    def training_step(self, batch: Any) -> Any:
        return self(batch[0]).square().mean()

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", self.training_step(batch))
        self.log("epoch_seen", float(self.current_epoch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-3)


def fit(tmp_path: Path, *callbacks: Any, epochs: int = 3) -> tuple[Reaches, pl.Trainer]:
    module = Reaches()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[*callbacks],
        logger=CSVLogger(tmp_path / "logs"),
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        log_every_n_steps=1,
    )
    trainer.fit(module, datamodule=Data())
    return module, trainer


def expected(module: Reaches, x: Any, epoch: int) -> Any:
    with torch.no_grad():
        return (module.net(x * torch.tensor([1.0, 2.0, 3.0])) + epoch * 10).numpy()


@pytest.mark.slow
def test_the_epoch_is_that_of_the_live_weights(tmp_path: Path) -> None:
    callback = ONNXExport(weights="live")
    module, _ = fit(tmp_path, callback)
    assert callback.artifact is not None
    assert callback.artifact.proven
    x = torch.randn(5, 3)
    (got,) = outside.run(callback.artifact.model_path, x=x)
    np.testing.assert_allclose(got, expected(module, x, 2), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["fit_end", "checkpoint"])
def test_the_epoch_is_that_of_the_best_checkpoint(when: Any, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(dirpath=tmp_path, monitor="epoch_seen", mode="min")  # the first epoch's
    callback = ONNXExport(when=when, checks=[Parity(), MetricParity()])
    module, _ = fit(tmp_path, callback, checkpoint)
    assert callback.artifact is not None
    assert callback.artifact.proven
    assert [c.status for c in callback.artifact.record.checks] == ["passed", "passed"]
    content = torch.load(checkpoint.best_model_path, weights_only=False)
    assert content["epoch"] == 0
    module.load_state_dict(content["state_dict"])
    x = torch.randn(5, 3)
    (got,) = outside.run(callback.artifact.model_path, x=x)
    np.testing.assert_allclose(got, expected(module, x, 0), rtol=1e-4, atol=1e-4)


def test_nothing_reaches_the_run(tmp_path: Path) -> None:
    module, trainer = fit(tmp_path, epochs=1)
    uses = trainer.datamodule.uses
    written = (tmp_path / "logs").rglob("metrics.csv")
    before = {path: path.read_text() for path in written}
    copied: Any = private_copy(module)
    copied(torch.ones(2, 3))
    copied.logger.log_metrics({"copy": 1.0})
    copied.trainer.should_stop = "set by the copy"
    assert trainer.datamodule.uses == uses
    assert trainer.should_stop != "set by the copy"
    assert {path: path.read_text() for path in (tmp_path / "logs").rglob("metrics.csv")} == before
    assert trainer.lightning_module is module
    assert not copied.trainer.training
    assert copied.trainer.validating
    assert isinstance(copied.trainer, pl.Trainer)
    assert copied.trainer.strategy.root_device == torch.device("cpu")
    assert copied.trainer.callbacks == trainer.callbacks


def test_a_copy_of_the_copy_is_at_the_same_moment(tmp_path: Path) -> None:
    module, _ = fit(tmp_path, epochs=1)
    copied = private_copy(module)
    show_moment(copied, 7, 70)
    again: Any = private_copy(copied)
    assert (again.current_epoch, again.global_step) == (7, 70)
    assert again.trainer.lightning_module is again
    assert len(views_of(again)) == 1


def test_a_module_without_a_trainer_has_none() -> None:
    copied: Any = private_copy(Reaches())
    assert views_of(copied) == []
    assert copied.current_epoch == 0


def test_a_child_refers_to_the_trainer_too(tmp_path: Path) -> None:
    module, trainer = fit(tmp_path, epochs=1)
    module.net.kept = {"trainer": trainer, "data": [trainer.datamodule], "logger": trainer.logger}
    copied: Any = private_copy(module)
    assert copied.net.kept["trainer"] is copied.trainer
    assert copied.net.kept["data"][0] is copied.trainer.datamodule
    assert copied.net.kept["logger"] is copied.logger
