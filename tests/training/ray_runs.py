"""Functions that run in workers of Ray, which finds them by name; they tell their driver nothing but what Ray keeps."""

from __future__ import annotations

from typing import Any

import ray.tune
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, RayTrainReportCallback, prepare_trainer

from lightning_onnx import ONNXExport
from tests import models

QUIET: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}


def train(config: dict[str, Any]) -> None:
    """A worker of Ray Train, as Ray's guide for Lightning writes it, with one callback more."""
    callback, module = ONNXExport(), models.Classifier()
    trainer = Trainer(
        max_epochs=2,
        devices="auto",
        strategy=RayDDPStrategy(),
        plugins=[RayLightningEnvironment()],
        callbacks=[ModelCheckpoint(monitor="val_loss"), RayTrainReportCallback(), callback],
        logger=False,
        **QUIET,
    )
    prepare_trainer(trainer).fit(module, module.batches(), module.batches())
    assert callback.failures == []


def trial(config: dict[str, Any]) -> None:
    """A trial of Ray Tune, with a logger whose directory is the working directory."""
    callback, module = ONNXExport(), models.Classifier()
    module.lr = config["lr"]
    trainer = Trainer(max_epochs=1, devices=1, callbacks=[callback], logger=CSVLogger("."), **QUIET)
    trainer.fit(module, module.batches(), module.batches())
    assert callback.artifact is not None
    ray.tune.report({"loss": float(trainer.callback_metrics["val_loss"])})
