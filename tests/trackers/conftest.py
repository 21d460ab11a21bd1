"""One real export by each engine, and one real fit with each of the two packages of Lightning."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import ONNXArtifact, trackers

PACKAGES = ["lightning.pytorch", "pytorch_lightning"]

os.environ["CLEARML_CONFIG_FILE"] = str(Path(__file__).with_name("clearml.conf"))  # read when clearml is imported


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x)) + x


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(Block(), Block())
        self.head = nn.Linear(8, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.layer1(image).mean(1))


def _export(directory: Path, engine: str) -> ONNXArtifact:
    image = torch.randn(2, 3, 8, 8)
    return lightning_onnx.export(Net(), (image,), directory=directory, engine=engine, output_names=["logits"])


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    return _export(tmp_path_factory.mktemp("artifacts") / "epoch=2-step=9", "torchscript")


@pytest.fixture(scope="session")
def dynamo_artifact(tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    return _export(tmp_path_factory.mktemp("artifacts") / "dynamo", "dynamo")


@dataclasses.dataclass
class Fit:
    """The results of a fit."""

    tensorboard: Path
    csv: Path
    places: list[str | None]
    step: int


@pytest.fixture(scope="session", params=PACKAGES)
def fit(request: pytest.FixtureRequest, artifact: ONNXArtifact, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """Publish like the callback, to a CSVLogger and a TensorBoardLogger, in a fit of one batch."""
    pl: Any = importlib.import_module(request.param)
    loggers: Any = importlib.import_module(f"{request.param}.loggers")
    places: list[str | None] = []

    class Publishing(pl.Callback):
        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            places.extend(
                trackers.publish(logger, artifact, ["best"], trainer.global_step) for logger in trainer.loggers
            )

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()
            self.example_input_array = torch.randn(1, 3, 8, 8)

        def forward(self, image: Tensor) -> Tensor:
            return self.net(image)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            loss = self(batch).square().mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    root = tmp_path_factory.mktemp("logs")
    tensorboard, csv = loggers.TensorBoardLogger(root / "tb", log_graph=True), loggers.CSVLogger(root / "csv")
    trainer = pl.Trainer(
        max_epochs=1,
        logger=[tensorboard, csv],
        callbacks=[Publishing()],
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(Module(), torch.utils.data.DataLoader(torch.randn(2, 3, 8, 8), batch_size=2))
    return Fit(Path(tensorboard.log_dir), Path(csv.log_dir), places, trainer.global_step)


def same_files(copy: Path, artifact: ONNXArtifact) -> bool:
    """Tell whether a copy has exactly the artifact's files: its bytes (verified by loading) and its manifest."""
    names = {p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()}
    return ONNXArtifact.load(copy).manifest == json.loads(json.dumps(artifact.manifest)) and names == {
        *artifact.manifest["files"],
        "manifest.json",
    }
