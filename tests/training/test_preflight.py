"""Preflight waits for a module that training has yet to finish, and stops only one that runs and cannot be exported."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_onnx import EngineError, ONNXExport, SampleError
from lightning_onnx.pipeline.search_limit import SearchLimit
from lightning_onnx.training import planning
from lightning_onnx.training.preflight import Preflight
from tests import models, outside


class Unfitted(models.Base):
    """Scores images by statistics that training fills in."""

    lr = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(6, 4)
        self.seen: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen.append(self.net(batch[0]).detach())
        return super().training_step(batch, batch_idx)

    def batches(self) -> Any:
        return models.loader()


class Bank(Unfitted):
    """A memory bank; in training mode, the features are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bank", torch.empty(0))

    def forward(self, x: Tensor) -> Any:
        features = self.net(x)
        if self.training:
            return features
        distances = torch.cdist(features, self.bank)
        return {"score": distances.min(1).values, "features": features}

    def on_train_epoch_end(self) -> None:
        self.bank = torch.cat(self.seen)[::2]


class NotFittedError(ValueError):
    pass


class Scaler(Unfitted):
    """A fitted scaler that refuses in both modes; ``forward`` is never called in training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", None)

    def call(self, batch: Any) -> Tensor:
        return self.net(batch[0])

    def forward(self, x: Tensor) -> Tensor:
        if self.mean is None:
            raise NotFittedError("fit the scaler first")
        return self.net(x) - self.mean

    def on_train_end(self) -> None:
        self.mean = torch.cat(self.seen).mean(0)


class MissingAttribute(Unfitted):
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if self.training else self.net(x) * self.scale

    def on_train_epoch_end(self) -> None:
        self.scale = torch.cat(self.seen).std()


class Undefined(Unfitted):
    """Statistics that are NaN until they are known, so that all scores are."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("variance", torch.full((4,), float("nan")))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if self.training else self.net(x) / self.variance.sqrt()

    def on_train_epoch_end(self) -> None:
        self.variance = torch.cat(self.seen).var(0)


class AtFitEnd(Bank):
    def on_train_epoch_end(self) -> None:
        pass

    def on_fit_end(self) -> None:
        self.bank = torch.cat(self.seen)[::2]


class InValidation(Bank):
    """Fills its bank before the first validation, as detectors of anomalies do."""

    validation_loss = True

    def on_train_epoch_end(self) -> None:
        pass

    def on_validation_start(self) -> None:
        if self.seen and not self.trainer.sanity_checking:
            self.bank = torch.cat(self.seen)[::2]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.log("val_loss", self(batch[0])["score"].mean())


class Fit:
    """A training, and what was said meanwhile."""

    def __init__(self, trainer: Any, module: Any, callback: ONNXExport, *others: Any, **options: Any) -> None:
        self.module, self.callback = module, callback
        val = module.batches() if hasattr(type(module), "validation_loss") else None
        ckpt_path = options.pop("ckpt_path", None)
        self.trainer = trainer(callback, *others, **options)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.trainer.fit(module, module.batches(), val, ckpt_path=ckpt_path)
        self.said = [str(w.message) for w in caught if "ONNX export" in str(w.message)]

    @property
    def waiting(self) -> list[str]:
        return [line for line in self.said if line.startswith("ONNX export waits")]

    def assert_right(self) -> None:
        artifact = self.callback.artifact
        assert artifact is not None, self.callback.failures
        assert artifact.passed
        assert self.callback.failures == []
        self.module.eval()
        for rows in (1, 3, 7):
            x = torch.randn(rows, 6)
            with torch.no_grad():
                expected = torch.utils._pytree.tree_leaves(self.module(x))
            for got, want in zip(outside.run(artifact.model_path, x=x), expected, strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


KINDS = [Bank, Scaler, MissingAttribute, Undefined, AtFitEnd, InValidation]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_and_the_end_exports(kind: Any, trainer: Any) -> None:
    fit = Fit(trainer, kind(), ONNXExport())
    fit.assert_right()
    (line,) = fit.waiting
    assert "\n" not in line
    assert kind.__name__ in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (Bank, "RuntimeError: cdist only supports"),
        (Scaler, "NotFittedError: fit the scaler first"),
        (MissingAttribute, "has no attribute 'scale'"),
        (Undefined, "'variance'"),
    ],
)
def test_the_line_gives_the_cause(kind: Any, cause: str, trainer: Any) -> None:
    (line,) = Fit(trainer, kind(), ONNXExport()).waiting
    assert cause in line


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Bank, InValidation])
def test_preflight_is_tried_again_after_validation_or_an_epoch(kind: Any, trainer: Any) -> None:
    planned: list[bool] = []

    class Watching(kind):  # type: ignore[misc]
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            planned.append(callback._exporter._planners.plans is not None)

    callback = ONNXExport()
    fit = Fit(trainer, Watching(), callback, max_epochs=2)
    assert planned == [False, False, True, True]
    fit.assert_right()


class NeverFitted(Bank):
    def on_train_epoch_end(self) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("preflight", ["raise", "warn", False])
def test_the_end_decides(preflight: Any, trainer: Any) -> None:
    fit = Fit(trainer, NeverFitted(), ONNXExport(preflight=preflight), max_epochs=3)
    assert fit.trainer.state.finished
    assert fit.callback.artifact is None
    (failure,) = fit.callback.failures
    assert "NeverFitted.forward does not run in eval mode" in failure
    assert "cdist" in failure
    assert len(fit.waiting) == (preflight is not False)
    line = Bank.forward.__code__.co_firstlineno + 4
    assert all(f"at test_preflight.py:{line})" in said for said in (failure, *fit.waiting))
    assert ("was the same before training" in failure) == (preflight is not False)


def test_the_end_raises_if_failures_do(trainer: Any) -> None:
    with pytest.raises(SampleError, match="does not run in eval mode"):
        Fit(trainer, NeverFitted(), ONNXExport(on_failure="raise"))


class CannotExport(Bank):
    def forward(self, x: Tensor) -> Any:
        if self.training:
            return self.net(x)
        return torch.linalg.eigvals(x.unsqueeze(2) * self.bank[:6, 0]).abs()


@pytest.mark.slow
def test_a_module_that_came_to_run_and_cannot_be_exported_stops_training(trainer: Any, tmp_path: Path) -> None:
    module, checkpoint = CannotExport(), ModelCheckpoint(tmp_path / "ck")
    module.net = nn.Linear(6, 4)
    module.batches = lambda: models.loader(rows=24)  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="eig"):
        Fit(trainer, module, ONNXExport(engine="torchscript"), checkpoint, max_epochs=3)
    assert module.current_epoch == 1
    assert list((tmp_path / "ck").glob("*.ckpt"))  # the epoch before is not lost


def test_a_module_that_ran_in_eval_mode_and_not_in_the_copy_stops_training(trainer: Any) -> None:
    class Elsewhere(models.Classifier):
        def forward(self, x: Tensor) -> Tensor:
            if self is not module:
                raise RuntimeError("only the original runs")
            return super().forward(x)

    module = Elsewhere()
    with pytest.raises(SampleError, match="only the original runs"):
        Fit(trainer, module, ONNXExport())


class Grows(Unfitted):
    """Returns its features until its bank is filled; then a score as well."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bank", torch.empty(0))

    def forward(self, x: Tensor) -> Any:
        features = self.net(x)
        if not len(self.bank):
            return features
        return features, torch.cdist(features, self.bank).amin(1)

    def on_train_end(self) -> None:
        self.bank = torch.cat(self.seen)[::2]


@pytest.mark.slow
def test_outputs_that_are_added_once_the_module_is_fitted(trainer: Any) -> None:
    fit = Fit(trainer, Grows(), ONNXExport())
    fit.assert_right()
    assert fit.waiting == []


@pytest.mark.slow
def test_names_of_outputs_that_are_added_once_the_module_is_fitted(trainer: Any) -> None:
    fit = Fit(trainer, Grows(), ONNXExport(output_names=["features", "score"], preflight=False))
    fit.assert_right()


class SavesEachEpoch(Bank):
    """Has no bank in the checkpoint of its first epoch."""

    def on_train_epoch_end(self) -> None:
        self.log("epoch", float(self.current_epoch))
        if self.current_epoch == 1:
            self.bank = torch.cat(self.seen)[::2]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.bank = torch.empty_like(checkpoint["state_dict"]["bank"])


@pytest.mark.slow
@pytest.mark.parametrize("background", [True, False])
def test_every_checkpoint_of_a_module_that_is_fitted_later(trainer: Any, tmp_path: Path, background: bool) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "ck", monitor="epoch", mode="max", save_top_k=-1)
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint", background=background)
    fit = Fit(trainer, SavesEachEpoch(), callback, checkpoint, max_epochs=4)
    assert [a.manifest["source"]["epoch"] for a in callback.artifacts] == [1, 2, 3]
    assert all(a.passed for a in callback.artifacts)
    (failure,) = callback.failures
    assert "epoch=0" in failure
    assert "does not run in eval mode" in failure
    assert len(fit.waiting) == 1


@pytest.mark.slow
def test_a_resumed_run(trainer: Any, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "ck", save_last=True)
    fit = Fit(trainer, SavesEachEpoch(), ONNXExport(tmp_path / "onnx"), checkpoint, max_epochs=1)
    assert "does not run in eval mode" in fit.callback.failures[0]
    again = Fit(
        trainer,
        SavesEachEpoch(),
        ONNXExport(tmp_path / "onnx", weights="live"),
        ModelCheckpoint(tmp_path / "other"),
        max_epochs=3,
        ckpt_path=str(tmp_path / "ck" / "last.ckpt"),
    )
    again.assert_right()
    assert len(again.waiting) == 1


def test_states() -> None:
    off = Preflight(is_on=False)
    off.validated()
    assert not off.is_due
    assert not off.is_due_again
    preflight = Preflight(is_on=True)
    assert preflight.is_due
    preflight.tried(waits=True)
    assert not preflight.is_due
    assert not preflight.is_due_again
    preflight.validated()
    assert preflight.is_due_again
    preflight.tried(waits=True)
    assert not preflight.is_due_again
    preflight.validated()
    preflight.tried(waits=False)
    preflight.validated()
    assert not preflight.is_due
    assert not preflight.is_due_again


class Diverges(models.Classifier):
    def on_train_end(self) -> None:
        nn.init.constant_(self.net[4].bias, float("nan"))


@pytest.mark.slow
def test_weights_that_diverged_are_named(trainer: Any) -> None:
    fit = Fit(trainer, Diverges(), ONNXExport(weights="live"))
    artifact = fit.callback.artifact
    assert artifact is not None
    (check,) = artifact.manifest["checks"]
    assert check["status"] == "failed"
    assert check["reason"].startswith(
        "the module's weights are not finite: 'net.4.bias' (3 of 3 NaN); output at traced"
    )
    assert "first differs" not in check["reason"]


class Guarded(models.Base):
    """Refused by the captures that are tried first."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Any:
        if x.isnan().any():
            raise ValueError("NaN")
        return self.net(x)


@pytest.mark.slow
def test_a_preflight_that_finds_no_graph_in_its_time_is_left_to_the_end(
    trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit(clock: Any) -> SearchLimit:
        return SearchLimit(clock and itertools.chain([0.0, 1.0, 2.0], itertools.repeat(63.0)).__next__)

    monkeypatch.setattr(planning, "SearchLimit", limit)
    callback = ONNXExport()
    with pytest.warns(UserWarning, match="is left to the end of training"):
        trainer(callback).fit(Guarded(), models.loader())
    assert callback.artifact is not None
    assert callback.artifact.passed
