"""Settings outside tensors belong to the exported weights, even if these are from an earlier epoch."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import ONNXExport
from tests import outside


class Detector(pl.LightningModule):
    """Sets a threshold and a table after each epoch, and has one more output from the second epoch on."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 3)
        self.threshold = 0.5
        self.table = torch.zeros(3)
        self.has_score = False

    def forward(self, x: Any) -> Any:
        score = self.net(x).abs().sum(1)
        found = {"shifted": x + self.table, "anomaly": score > self.threshold}
        return found | {"score": score} if self.has_score else found

    def training_step(self, batch: Any) -> Any:
        return self.net(batch[0]).square().mean()

    def validation_step(self, batch: Any) -> None:
        self(batch[0])
        self.log("epoch_seen", float(self.current_epoch))

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.threshold = 100.0 + self.current_epoch
            self.table = torch.full((3,), float(self.current_epoch + 1))

    def on_train_epoch_start(self) -> None:
        self.has_score = self.current_epoch >= 1

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-3)


def fit(tmp_path: Path, export: Any, *callbacks: Any, module: Any = None, max_epochs: int = 3, **options: Any) -> None:
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(torch.randn(8, 3)), 4)
    trainer = pl.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        callbacks=[export, *callbacks],
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(callbacks),
    )
    trainer.fit(module or Detector(), loader, loader, **options)


def check(export: ONNXExport, epoch: int) -> None:
    assert export.artifact is not None
    assert export.artifact.passed
    outputs = outside.shapes(export.artifact.model_path)
    assert ("score" in outputs) == (epoch >= 1)
    x = torch.zeros(2, 3)
    x[1] = 1e6
    shifted, anomaly = outside.run(export.artifact.model_path, x=x)[:2]
    np.testing.assert_allclose(shifted[0], np.full(3, epoch + 1.0))
    assert anomaly.tolist() == [False, True]


@pytest.mark.slow
def test_live_weights_have_the_settings_of_now(tmp_path: Path) -> None:
    export = ONNXExport(weights="live")
    fit(tmp_path, export)
    check(export, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "weights_only"),
    [
        ("fit_end", False),
        ("checkpoint", True),
        pytest.param("fit_end", True, marks=pytest.mark.slow),
        pytest.param("checkpoint", False, marks=pytest.mark.slow),
    ],
)
def test_the_best_checkpoint_has_those_of_the_moment_it_was_saved(
    when: Any, weights_only: bool, tmp_path: Path
) -> None:
    checkpoint = ModelCheckpoint(
        dirpath=tmp_path, monitor="epoch_seen", mode="min", save_weights_only=weights_only, save_top_k=1
    )
    export = ONNXExport(when=when)
    fit(tmp_path, export, checkpoint)
    check(export, 0)
    assert export.artifact is not None
    assert not any("not in the checkpoint" in note for note in export.artifact.record.notes)


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_run_gets_a_note(tmp_path: Path) -> None:
    first = ModelCheckpoint(dirpath=tmp_path, monitor="epoch_seen", mode="min", save_last=True)
    fit(tmp_path, ONNXExport(preflight=False, dirpath=tmp_path / "first"), first)
    second = ModelCheckpoint(dirpath=tmp_path, monitor="epoch_seen", mode="min", save_last=True)
    export = ONNXExport(dirpath=tmp_path / "second")
    fit(tmp_path, export, second, ckpt_path=str(tmp_path / "last.ckpt"))
    assert export.artifact is not None
    (note,) = [note for note in export.artifact.record.notes if "not in the checkpoint" in note]
    assert "threshold" in note


LEVEL = 100.0


class ReadsGlobal(Detector):
    """Its threshold is a global, which is no attribute that could be given back."""

    def forward(self, x: Any) -> Any:
        return {"shifted": x + self.table, "anomaly": self.net(x).abs().sum(1) > LEVEL}

    def on_validation_epoch_end(self) -> None:
        global LEVEL
        LEVEL += 1


@pytest.mark.slow
def test_what_cannot_be_given_back_gets_a_note(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(dirpath=tmp_path, monitor="epoch_seen", mode="min")
    export = ONNXExport()
    fit(tmp_path, export, checkpoint, module=ReadsGlobal())
    assert export.artifact is not None
    (note,) = [note for note in export.artifact.record.notes if "not in the checkpoint" in note]
    assert note.endswith("LEVEL")


class Hides(Detector):
    """Averages its weights into a module that no checkpoint has, and fills buffers: a queue, a bank and a view."""

    def __init__(self) -> None:
        super().__init__()
        self.average = [nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval()]  # in a list, it is not registered
        self.scaled = functools.partial(torch.mul, other=1.0)
        self.register_buffer("bank", torch.zeros(2, 3), persistent=False)
        self.register_buffer("view", self.net.weight.data[:2], persistent=False)
        self.register_buffer("queue", torch.zeros(0, 3))

    def forward(self, x: Any) -> Any:
        near = torch.cdist(x, torch.cat([self.bank, self.queue, self.view]))
        return self.scaled(self.average[0](x)).sum(1) + near.sum(1)

    def on_train_batch_end(self, *_: Any) -> None:
        self.average[0][0].weight.data.add_(1.0)
        self.average[0][1].running_mean.add_(1.0)
        self.scaled = functools.partial(torch.mul, other=2.0 + self.global_step)
        self.bank.fill_(self.global_step)
        self.queue = torch.cat([self.queue, torch.ones(1, 3)])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.current_epoch == 0:
            with torch.no_grad():
                self.first_answer = self.eval()(torch.ones(2, 3))  # type: ignore[operator]
            self.train()


@pytest.mark.slow
def test_unregistered_modules_and_buffers_have_their_values_of_that_moment(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path, monitor="epoch_seen", mode="min")
    fit(tmp_path, export := ONNXExport(tmp_path / "onnx"), best, module=(module := Hides()))
    assert export.artifact is not None
    assert export.artifact.proven
    assert export.artifact.manifest["source"]["epoch"] == 0
    answer = outside.run(export.artifact.model_path, x=torch.ones(2, 3))[0]
    np.testing.assert_allclose(answer, module.first_answer, rtol=1e-5)  # type: ignore[arg-type]


class CanBeResumed(Hides):
    """Has an empty queue, because Lightning loads no buffer of another size."""

    def on_train_batch_end(self, *_: Any) -> None:
        super().on_train_batch_end()
        self.queue = torch.zeros(0, 3)


@pytest.mark.slow
def test_of_a_checkpoint_of_an_earlier_run_what_changed_since_gets_a_note(tmp_path: Path) -> None:
    first = ModelCheckpoint(tmp_path, monitor="epoch_seen", mode="min", save_last=True)
    fit(tmp_path, ONNXExport(tmp_path / "first", preflight=False), first, module=CanBeResumed(), max_epochs=2)
    best = ModelCheckpoint(tmp_path, monitor="epoch_seen", mode="min", save_last=True)
    export = ONNXExport(tmp_path / "second")
    fit(tmp_path, export, best, module=CanBeResumed(), ckpt_path=str(tmp_path / "last.ckpt"))
    assert export.artifact is not None
    assert export.artifact.manifest["source"]["epoch"] == 0
    (note,) = [note for note in export.artifact.record.notes if "not in the checkpoint" in note]
    assert {"average", "scaled", "bank"} <= set(note.partition(": ")[2].split(", "))


class LeavesState(Detector):
    """Each call adds to an attribute that shows only far beyond what was observed."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def forward(self, x: Any) -> Any:
        y = self.net(x)
        y = torch.where(x > 1e5, y * 0 + self.total, y)
        self.total = self.total + 1.0
        return y

    def training_step(self, batch: Any) -> Any:
        return self(batch[0]).square().mean()


@pytest.mark.slow
def test_state_that_calls_left_is_that_of_now(tmp_path: Path) -> None:
    export, module = ONNXExport(weights="live"), LeavesState()
    fit(tmp_path, export, module=module)
    assert export.artifact is not None
    assert export.artifact.passed
    (y,) = outside.run(export.artifact.model_path, x=torch.full((2, 3), 1e6))
    np.testing.assert_allclose(y, module.total)


SHAPES: list[Any] = []


@pytest.mark.slow
@pytest.mark.parametrize("when", [None, "fit_end", "checkpoint"])
def test_a_global_that_hooks_write_has_what_training_wrote(when: Any, tmp_path: Path) -> None:
    SHAPES.clear()
    module = Detector()
    module.net.register_forward_hook(lambda net, args, output: SHAPES.append(tuple(output.shape)))
    checkpoint = ModelCheckpoint(dirpath=tmp_path, monitor="epoch_seen", mode="min", save_top_k=-1)
    export = ONNXExport(when=when) if when else pl.Callback()
    fit(tmp_path, export, checkpoint, module=module)
    assert SHAPES == [(4, 3)] * (2 + 3 * 4)  # the sanity check, and both loops of each epoch
