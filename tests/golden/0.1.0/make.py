"""Wrote what lies beside this file; kept to show how, and for a golden set of a later version. No test runs it.

Usage, with the version installed that the set is of (``pip install "lightning-onnx[examples,variants]==0.1.0"``):

    python make.py DIRECTORY

Everything is written with relative paths and the directory as the working one, so that nothing in it names the machine:
without a logger and with ``default_root_dir="."``, ``ModelCheckpoint`` keeps ``./checkpoints`` in its state.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import Float16, Int8, Latency, MetricParity, ONNXExport, Parity, Simplified

ROOT: Any = {
    "default_root_dir": ".",
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Net(LightningModule):
    """A convolution, a BatchNorm and a Linear on images of 6 x 6 pixels; tests have the same."""

    def __init__(self, hidden: int = 4, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Sequential(nn.Conv2d(1, hidden, 3), nn.BatchNorm2d(hidden), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(16 * hidden, 3)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.body(images))}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0])["logits"], batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])["logits"]
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(-1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=0.5)

    def train_dataloader(self) -> DataLoader[Any]:
        return batches(1)

    def val_dataloader(self) -> DataLoader[Any]:
        return batches(2)


def batches(seed: int) -> DataLoader[Any]:
    """Images that are brightest in one of three stripes, which is their label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(24) % 3
    images = torch.randn(24, 1, 6, 6, generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 1
    return DataLoader(TensorDataset(images, labels), batch_size=8)


def make_artifact() -> None:
    """``artifact``: the live weights at the end of fit, with every check, each variant, and one that does not pass."""
    torch.manual_seed(0)
    callback = ONNXExport(
        "made",
        filename="artifact",
        checks=[Parity(), Latency([1, 4], seconds=0.02), MetricParity()],
        runtimes=["onnxruntime", "reference"],
        variants=[
            Float16(),
            Int8(mode="static", max_metric_drop=1.0, max_difference=0.5),
            Int8(mode="dynamic", max_difference=1e-9, name="int8-strict"),
            Simplified(),
        ],
        metadata={"labels": "top, middle, bottom"},
    )
    Trainer(max_epochs=2, callbacks=[callback], enable_checkpointing=False, **ROOT).fit(Net())
    assert [failure for failure in callback.failures if "int8-strict" not in failure] == []
    Path("made/artifact").rename("artifact")
    shutil.rmtree("made")


def make_run() -> None:
    """``run``: an artifact for each of the two best checkpoints, their index, and the callback's state."""
    Path("run").mkdir()
    os.chdir("run")
    torch.manual_seed(0)
    callback = ONNXExport(when="checkpoint", background=False)
    checkpoint = ModelCheckpoint(monitor="val_loss", save_top_k=2)
    Trainer(max_epochs=3, callbacks=[callback, checkpoint], **ROOT).fit(Net())
    assert callback.failures == []
    newest = max(Path("checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    states = torch.load(newest, weights_only=True)["callbacks"]
    state = {key: value for key, value in states.items() if key.startswith("ONNXExport")}
    Path("state.json").write_text(json.dumps({"checkpoint": newest.name, "callbacks": state}, indent=2) + "\n")
    os.chdir("..")


def make_config() -> None:
    """``config.yaml``: what LightningCLI saved beside a run, the callback and its checks configured."""
    checks = [
        {"class_path": "lightning_onnx.Parity", "init_args": {"rtol": 1e-3}},
        {"class_path": "lightning_onnx.Latency", "init_args": {"batch_sizes": [1, 8], "seconds": 0.02}},
        {"class_path": "lightning_onnx.MetricParity", "init_args": {"limit_batches": 2}},
        {"class_path": "lightning_onnx.RuntimeParity", "init_args": {"parity": {"rtol": 1e-2}}},
    ]
    variants = [
        {"class_path": "lightning_onnx.Float16"},
        {"class_path": "lightning_onnx.Int8", "init_args": {"mode": "dynamic", "max_metric_drop": 0.5}},
        {"class_path": "lightning_onnx.Simplified"},
    ]
    options = {
        "opset_version": 18,
        "dynamic_axes": {"images": {0: "rows"}},
        "metadata": {"licence": "MIT"},
        "runtimes": ["onnxruntime", "reference"],
        "checks": checks,
        "variants": variants,
        "log_artifacts": "all",
    }
    callbacks = [
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"monitor": "val_loss"}},
        {"class_path": "lightning_onnx.ONNXExport", "init_args": options},
    ]
    trainer = {**ROOT, "max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "logger": True}
    sys.argv[1:] = []  # LightningCLI warns of them
    LightningCLI(Net, args={"fit": {"trainer": {**trainer, "callbacks": callbacks}}, "subcommand": "fit"})
    (saved,) = Path().glob("lightning_logs/*/config.yaml")
    saved.rename("config.yaml")
    shutil.rmtree("lightning_logs")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    make_artifact()
    make_run()
    make_config()
