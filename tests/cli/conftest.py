"""Files of a command line user: an artifact, and a directory with a module and its checkpoint."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

import lightning_onnx
from lightning_onnx import ONNXArtifact

MODULE = """
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset


class Anything:
    pass


class Net(LightningModule):
    def __init__(self, hidden, scale=1.0, extra=None, bias=True):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(6, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 3, bias))
        self.scale = scale

    def forward(self, x):
        return self.net(x) * self.scale

    def training_step(self, batch, batch_idx):
        return self(batch[0]).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_size", self(batch[0]).abs().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Doubled(Net):
    def doubled(self, x):
        return self(x) * 2


class WithExample(Net):
    example_input_array = torch.zeros(4, 6)


class OpenEnded(WithExample):
    def __init__(self, **kwargs):
        assert not any(name.startswith("_") for name in kwargs)
        super().__init__(**{name: kwargs[name] for name in ("hidden", "scale", "bias") if name in kwargs})


def loader():
    return DataLoader(TensorDataset(torch.randn(8, 6), torch.zeros(8)), batch_size=4)


class Data(LightningDataModule):
    def __init__(self, rows=8):
        super().__init__()
        self.rows = rows

    def train_dataloader(self):
        return loader()


def lengths():
    return [torch.randn(2, length, 6) for length in (3, 5, 4)]


def divided(raw):
    return raw / 255


def raw():
    return torch.randint(0, 256, (4, 6), dtype=torch.uint8)


def wide():
    return [torch.randn(2, 7)]


def empty():
    return []
"""


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exported") / "linear"
    return lightning_onnx.export(torch.nn.Linear(4, 2), torch.randn(3, 4), directory=directory).directory


@pytest.fixture
def artifact(exported: Path, tmp_path: Path) -> ONNXArtifact:
    """A copy that the test may damage."""
    return ONNXArtifact.load(shutil.copytree(exported, tmp_path / "linear"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A directory with a user's module and a checkpoint of it, some of whose hyperparameters are not plain values."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_nets.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("raise ValueError('too early')")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_nets", None)
    import my_nets  # type: ignore[import-not-found]

    module = my_nets.WithExample(hidden=5, scale=2.0, extra=my_nets.Anything())
    saving = ModelCheckpoint(tmp_path, filename="last")
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, callbacks=[saving], enable_progress_bar=False,
                      enable_model_summary=False)  # fmt: skip
    trainer.fit(module, my_nets.loader())
    (tmp_path / "cut.ckpt").write_bytes((tmp_path / "last.ckpt").read_bytes()[:-100])
    yield my_nets, module.eval()
    sys.modules.pop("my_nets", None)
