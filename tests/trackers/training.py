"""A typical training run, and what its ONNX file must compute."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn import functional as F

from lightning_onnx import ONNXExport

WHEN: dict[str, Any] = {"when": "checkpoint"}
"""Options of the callback that say when it exports."""

REPOSITORY = Path(__file__).parent.parent.parent


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.net(features)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.05)

    @staticmethod
    def batches() -> Any:
        generator = torch.Generator().manual_seed(3)
        features = torch.randn(24, 4, generator=generator)
        dataset = torch.utils.data.TensorDataset(features, (features.sum(1) > 0).long())
        return torch.utils.data.DataLoader(dataset, batch_size=8)


@dataclasses.dataclass
class Trained:
    """The results of a finished run; its own artifact directory is removed."""

    name: str
    manifest: dict[str, Any]
    step: int
    inputs: np.ndarray
    outputs: np.ndarray


def train(root: Path, *loggers: Any, after: Any = None) -> Trained:
    """Train for two epochs with ``ONNXExport``, then remove the artifacts: trackers must have their own copies.

    Args:
        root: For checkpoints and artifacts.
        loggers: Loggers of the run.
        after: Called with the callback and the Trainer before artifacts are removed.
    """
    torch.manual_seed(0)
    callback = ONNXExport(dirpath=root / "artifacts", **WHEN)
    checkpoint = ModelCheckpoint(dirpath=root / "checkpoints", monitor="val_loss")
    module = Classifier()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            max_epochs=2,
            accelerator="cpu",
            logger=list(loggers),
            callbacks=[checkpoint, callback],
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            default_root_dir=root,
        )
        trainer.fit(module, module.batches(), module.batches())
    if after is not None:
        after(callback, trainer)
    assert callback.failures == []
    made = callback.artifact
    assert made is not None
    shutil.rmtree(root / "artifacts")
    best = Classifier.load_from_checkpoint(checkpoint.best_model_path).eval()
    inputs = torch.randn(5, 4)
    with torch.no_grad():
        outputs = best(inputs)
    return Trained(made.name, made.manifest, trainer.global_step, inputs.numpy(), outputs.numpy())


def assert_read_back(trained: Trained, tmp_path: Path, tracker: str, *where: Any) -> None:
    """Find the artifact in a new process, with the tracker's function in `reading.py`, and run it there.

    Args:
        trained: The run.
        tmp_path: For what is exchanged with the process.
        tracker: Name of a function in `reading.py`.
        where: Its arguments.
    """
    np.save(tmp_path / "inputs.npy", trained.inputs)
    command = [sys.executable, "-m", f"{__package__}.reading", tracker, *map(str, where)]
    done = subprocess.run(
        [*command, tmp_path / "inputs.npy", tmp_path / "outputs.npy"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), trained.outputs, rtol=1e-4, atol=1e-5)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == json.loads(json.dumps(trained.manifest))


def scalars_of(trained: Trained) -> Any:
    """The scalars that loggers get."""
    return pytest.approx({f"onnx/{key}": float(value) for key, value in trained.manifest["scalars"].items()})
