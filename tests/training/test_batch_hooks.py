from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import ConfigurationError, ONNXExport
from lightning_onnx.training.batch_hooks import check_batch_hook

HOOK = "on_after_batch_transfer"


class Plain(LightningModule):
    pass


class Prepares(LightningModule):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch

    def prepared(self, batch: Any) -> Any:
        return batch


class Data(LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(torch.zeros(4, 2)))


class PreparesData(Data):
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch


@pytest.mark.parametrize("module", [Plain(), Prepares()])
def test_the_hook_of_a_data_module_is_refused_before_training(module: LightningModule, tmp_path: Path) -> None:
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[ONNXExport(weights="live", preprocess=HOOK)],
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    module.training_step = lambda batch: None  # type: ignore[method-assign, assignment]
    module.configure_optimizers = lambda: None  # type: ignore[method-assign]
    with pytest.raises(ConfigurationError, match=r"but PreparesData has this hook too.*sample= a raw input"):
        trainer.fit(module, datamodule=PreparesData())


def test_a_hook_that_does_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Plain does not override this hook, so it does nothing"):
        check_batch_hook(Trainer(accelerator="cpu", logger=False), Plain(), HOOK)


@pytest.mark.parametrize("preprocess", [None, torch.relu, "prepared", HOOK])
@pytest.mark.parametrize("data", [None, Data()])
def test_what_the_trainer_runs_is_accepted(preprocess: Any, data: LightningDataModule | None) -> None:
    trainer = Trainer(accelerator="cpu", logger=False)
    trainer.datamodule = data  # type: ignore[attr-defined]
    check_batch_hook(trainer, Prepares(), preprocess)
