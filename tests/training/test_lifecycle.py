"""The callback among other callbacks, flags and ways to run; training must be the same as without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    LambdaCallback,
    LearningRateFinder,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.tuner import Tuner
from torch import Tensor, nn

from lightning_onnx import ONNXExport
from tests import models, outside

pytestmark = pytest.mark.slow


def reference(module: Any, *args: Any) -> Any:
    module.eval()
    with torch.no_grad():
        return module(*args).numpy()


def assert_exports(callback: ONNXExport, module: Any) -> None:
    """The artifact holds the module's current weights."""
    assert callback.failures == []
    assert callback.artifact is not None
    assert callback.artifact.proven
    x = torch.randn(3, 6, dtype=next(module.parameters()).dtype)
    module = module.to("cpu")
    (got,) = outside.run(callback.artifact.model_path, x=x.float() if x.dtype is torch.bfloat16 else x)
    np.testing.assert_allclose(got, reference(module.float() if x.dtype is torch.bfloat16 else module, *[
        x.float() if x.dtype is torch.bfloat16 else x]), atol=1e-4)  # fmt: skip


class Losses(models.Classifier):
    """Records every loss."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.seen.append(loss.item())
        return loss


@pytest.mark.parametrize("when", ["checkpoint", "fit_end"])
def test_losses_are_those_without_the_callback(when: str, fit: Any, tmp_path: Path) -> None:
    seen = []
    for number, callbacks in enumerate(([], [ONNXExport(tmp_path / "onnx", when=when)])):
        torch.manual_seed(1)
        module = Losses()
        checkpoint = ModelCheckpoint(tmp_path / str(number), every_n_train_steps=1, save_top_k=-1)
        fit(module, *callbacks, checkpoint, max_epochs=3)
        seen.append((module.seen, torch.rand(1).item(), {k: v.clone() for k, v in module.state_dict().items()}))
    (losses, after, state), (losses_with, after_with, state_with) = seen
    assert losses == losses_with
    assert after == after_with
    assert all(torch.equal(state[k], state_with[k]) for k in state)


class Watches(models.Classifier):
    """Has frozen parts, a norm in eval mode, and hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.net[0].requires_grad_(False)
        self.net[1].eval()
        self.net[2].register_forward_hook(lambda module, args, output: output)
        self.small = nn.Parameter(torch.ones(2, dtype=torch.float16), requires_grad=False)

    def picture(self) -> Any:
        return (
            {n: (p.requires_grad, p.dtype, p.device, p.data_ptr()) for n, p in self.named_parameters()},
            {n: (b.dtype, b.device) for n, b in self.named_buffers()},
            {n: m.training for n, m in self.named_modules()},
            {n: (len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in self.named_modules()},
            sorted(self.__dict__),
        )


@pytest.mark.parametrize("kind", [Watches, type("WatchesAndFails", (Watches, models.CannotExport), {})])
def test_module_comes_back_as_it_was(kind: Any, fit: Any, tmp_path: Path) -> None:
    pictures = []
    for number, callbacks in enumerate(
        ([], [ONNXExport(tmp_path / "onnx", preflight="warn"), ONNXExport(when="checkpoint", preflight="warn")])
    ):
        torch.manual_seed(0)
        module = kind()
        pointers = {n: p.data_ptr() for n, p in module.named_parameters()}
        fit(module, *callbacks, ModelCheckpoint(tmp_path / str(number), save_top_k=-1), max_epochs=2)
        picture = module.picture()
        assert {n: v[3] for n, v in picture[0].items()} == pointers
        picture[0].update({n: v[:3] for n, v in picture[0].items()})
        pictures.append((*picture, torch.get_rng_state().tolist()))
    assert pictures[0] == pictures[1]


def test_stochastic_weight_averaging(fit: Any) -> None:
    module, callback = models.Classifier(), ONNXExport()
    fit(module, callback, StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=1), max_epochs=3)
    assert_exports(callback, module)


class Backbone(models.Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.net = self.net[:3], nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.backbone(x))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)


@pytest.mark.parametrize(
    "other",
    [
        lambda: EarlyStopping("val_loss", patience=0, min_delta=1e6),
        lambda: BackboneFinetuning(unfreeze_backbone_at_epoch=1, train_bn=False),
        lambda: LambdaCallback(on_train_epoch_end=lambda trainer, module: None),
    ],
    ids=["early_stopping", "finetuning", "lambda"],
)
@pytest.mark.parametrize("when", ["checkpoint", "fit_end"])
def test_other_callbacks(when: str, other: Any, fit: Any, tmp_path: Path) -> None:
    module, callback = Backbone(), ONNXExport(when=when)
    fit(module, callback, other(), ModelCheckpoint(tmp_path / "ck", save_top_k=1), max_epochs=3)
    assert_exports(callback, module)


class Tunable(models.Classifier):
    def __init__(self, lr: float = 0.1, batch_size: int = 4) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.batch_size = lr, batch_size

    def train_dataloader(self) -> Any:
        return models.loader(self.batch_size, rows=32)

    def val_dataloader(self) -> Any:
        return models.loader(self.batch_size)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


@pytest.mark.parametrize(
    "finder",
    [lambda: LearningRateFinder(num_training_steps=5), lambda: BatchSizeFinder(max_trials=2, steps_per_trial=1)],
    ids=["learning_rate", "batch_size"],
)
@pytest.mark.parametrize("first", [True, False])
def test_finders_export_once(finder: Any, first: bool, trainer: Any, tmp_path: Path) -> None:
    module, callback = Tunable(), ONNXExport(tmp_path / "onnx")
    callbacks = [callback, finder()] if first else [finder(), callback]
    trainer(*callbacks).fit(module)
    assert [p.name for p in (tmp_path / "onnx").iterdir() if p.name != "index.json"] == [callback.artifact.name]
    assert_exports(callback, module)


def test_tuner_exports_nothing(trainer: Any, tmp_path: Path) -> None:
    module, callback = Tunable(), ONNXExport(tmp_path / "onnx")
    made = trainer(callback)
    Tuner(made).lr_find(module, num_training=5)
    assert callback.artifact is None
    assert not list((tmp_path / "onnx").glob("*/model.onnx"))
    assert "forward" not in module.__dict__
    made.fit(module)
    assert_exports(callback, module)


def test_validate_test_and_predict_without_fit_do_nothing(trainer: Any, tmp_path: Path) -> None:
    class Complete(models.Classifier):
        def test_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])

        def predict_step(self, batch: Any) -> Tensor:
            return self(batch[0])

    module, callback = Complete(), ONNXExport(tmp_path / "onnx")
    made = trainer(callback)
    for run in (made.validate, made.test, made.predict):
        run(module, module.batches())
    assert not (tmp_path / "onnx").exists()
    made.fit(module, module.batches(), module.batches())
    artifact = callback.artifact
    made.test(module, module.batches())
    assert callback.artifact == artifact is not None


def test_fit_twice(trainer: Any, tmp_path: Path) -> None:
    module, callback = models.Classifier(), ONNXExport(tmp_path / "onnx", when="checkpoint")
    made = trainer(callback, ModelCheckpoint(tmp_path / "ck", save_top_k=-1))
    made.fit(module, module.batches(), module.batches())
    first = callback.artifact
    made.fit_loop.max_epochs = 2
    made.fit(module, module.batches(), module.batches())
    assert first is not None
    assert callback.failures == []
    assert first.directory.is_dir()
    assert callback.artifact is not None
    assert callback.artifact.manifest["source"]["global_step"] == 4
    assert_exports(callback, module)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("when", ["checkpoint", "fit_end"])
def test_precisions(when: str, precision: str, fit: Any, tmp_path: Path) -> None:
    module, callback = models.Classifier(), ONNXExport(when=when)
    fit(module, callback, ModelCheckpoint(tmp_path / "ck"), precision=precision, max_epochs=2)
    assert callback.artifact.manifest["source"]["precision"] == precision
    assert_exports(callback, module)


def test_gradient_accumulation_and_limits(fit: Any, tmp_path: Path) -> None:
    module, callback = models.Classifier(), ONNXExport(when="checkpoint")
    options = {
        "accumulate_grad_batches": 2,
        "limit_train_batches": 2,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
    }
    fit(module, callback, ModelCheckpoint(tmp_path / "ck"), max_epochs=2, **options)
    assert callback.artifact.manifest["source"]["global_step"] == 2
    assert_exports(callback, module)


def test_no_validation_and_iterable_data(fit: Any, tmp_path: Path) -> None:
    class Endless(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            generator = torch.Generator().manual_seed(0)
            while True:
                yield torch.randn(6, generator=generator), 0

    module, callback = models.Classifier(), ONNXExport(when="checkpoint")
    train = torch.utils.data.DataLoader(Endless(), batch_size=4)
    checkpoint = ModelCheckpoint(tmp_path / "ck", every_n_train_steps=2)
    fit(module, callback, checkpoint, train=train, limit_train_batches=4, limit_val_batches=0)
    assert_exports(callback, module)


def test_barebones(trainer: Any, tmp_path: Path) -> None:
    module, callback = models.Classifier(), ONNXExport(tmp_path / "onnx")
    options = {"barebones": True, "logger": None, "enable_checkpointing": None, "enable_progress_bar": None}
    made = trainer(callback, **options, enable_model_summary=None)
    made.fit(module, module.batches())
    assert_exports(callback, module)


@pytest.mark.parametrize("whole", [True, False])
def test_compiled(whole: bool, trainer: Any, tmp_path: Path) -> None:
    module = models.Classifier()
    callback = ONNXExport(when="checkpoint")
    made = trainer(callback, ModelCheckpoint(tmp_path / "ck"), max_epochs=2)
    if whole:
        made.fit(torch.compile(module, backend="eager"), module.batches(), module.batches())
    else:
        module.net = torch.compile(module.net, backend="eager")
        made.fit(module, module.batches(), module.batches())
        module.net = module.net._orig_mod
    assert_exports(callback, module)


class Breaks(models.Classifier):
    error: type[BaseException] = RuntimeError

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.current_epoch == 2:
            raise self.error("in the middle")
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["checkpoint", "fit_end"])
@pytest.mark.parametrize("asked", [True, False])
def test_interrupted_training(error: Any, when: str, asked: bool, fit: Any, tmp_path: Path) -> None:
    class Worsens(Breaks):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])
            self.log("score", float(self.current_epoch))

    Worsens.error = error
    callback = ONNXExport(tmp_path / "onnx", when=when, on_exception=asked)
    checkpoint = ModelCheckpoint(tmp_path / "ck", monitor="score", save_top_k=-1)
    saver = OnExceptionCheckpoint(tmp_path / "exception")
    with pytest.raises((error, SystemExit)):
        fit(Worsens(), callback, checkpoint, saver, max_epochs=4)
    assert (tmp_path / "exception" / "on_exception.ckpt").exists()
    assert callback.failures == []
    found = {a.name for a in callback.artifacts}
    if when == "checkpoint":
        assert found == {"epoch=0-step=2", "epoch=1-step=4"}
    else:
        assert found == ({"epoch=0-step=2"} if asked else set())
    if found:
        assert callback.artifact.name == "epoch=0-step=2"
        assert callback.artifact.proven


def test_manual_optimization_by_steps(fit: Any, tmp_path: Path) -> None:
    class Manual(models.Classifier):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(models.loss_of(self(batch[0])))
            optimizer.step()

    module, callback = Manual(), ONNXExport(when="checkpoint")
    fit(module, callback, ModelCheckpoint(tmp_path / "ck", every_n_train_steps=1, save_top_k=1), max_epochs=2)
    assert_exports(callback, module)


def test_other_package(tmp_path: Path) -> None:
    import pytorch_lightning as other

    class Module(other.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self(batch[0]).square().mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module, callback = Module(), ONNXExport(tmp_path / "onnx", when="checkpoint")
    checkpoint = other.callbacks.ModelCheckpoint(tmp_path / "ck", save_top_k=-1, every_n_train_steps=1)
    other.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, callbacks=[callback, checkpoint],
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(module, models.loader())  # fmt: skip
    assert sorted(a.name for a in callback.artifacts) == ["epoch=0-step=1", "epoch=0-step=2"]
    assert_exports(callback, module)
