"""Metrics of the validation loop, with the module and with the file."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from onnx import numpy_helper
from torch import nn
from torch.distributions import Categorical
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from lightning_onnx import ConfigurationError, MetricParity, ONNXArtifact, ONNXExport, SampleError, evaluate, export
from lightning_onnx.artifacts.stand_in import ExportedCall
from lightning_onnx.checks.base import CheckContext, CheckedFile, CheckedModule, CheckInputs
from lightning_onnx.checks.loaders import Loaders
from lightning_onnx.checks.validation import LoopResult, Validation
from lightning_onnx.module.calls.signature import Signature


class Classifier(LightningModule):
    """Logs a loss, an accuracy by torchmetrics, and the number of rows above a threshold."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
        self.accuracy = MulticlassAccuracy(4, average="micro")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def training_step(self, batch: Any) -> torch.Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.accuracy(logits, batch[1])
        self.log("val/acc", self.accuracy)
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_sure", (logits.max(-1).values > 0.3).sum().float(), reduce_fx="sum")
        if self.logger is not None:
            self.logger.experiment.add_histogram("logits", logits)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters())


def loader(rows: int = 44, **options: Any) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(rows, 6, generator=generator)
    labels = torch.randint(4, (rows,), generator=generator)
    return DataLoader(TensorDataset(inputs, labels), batch_size=8, **options)


def exported(module: nn.Module, directory: Path, **options: Any) -> ONNXArtifact:
    return export(module, torch.randn(3, 6), directory=directory, **options)


def expected(module: Classifier) -> dict[str, float]:
    """By hand, over all rows at once."""
    inputs, labels = loader().dataset[:]  # type: ignore[misc]
    with torch.no_grad():
        logits = module.net(inputs)
    return {
        "val/acc": float((logits.argmax(-1) == labels).float().mean()),
        "val_loss": float(F.cross_entropy(logits, labels)),
        "val_sure": float((logits.max(-1).values > 0.3).sum()),
    }


def metrics_of(artifact: ONNXArtifact) -> dict[str, Any]:
    (found,) = (c for c in artifact.manifest["checks"] if c["name"] == "metrics")
    return found


@pytest.mark.slow
def test_evaluate_returns_both_values(tmp_path: Path) -> None:
    module = Classifier()
    before = copy.deepcopy(module.state_dict())
    found = evaluate(exported(module, tmp_path / "a"), module, loader())
    wanted = expected(module)
    assert found.keys() == wanted.keys()
    for name, (own, other) in found.items():
        assert own == pytest.approx(wanted[name], rel=1e-5)
        assert other == pytest.approx(wanted[name], rel=1e-5)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert module.training
    assert "forward" not in module.__dict__


@pytest.mark.slow
def test_the_file_answers(tmp_path: Path) -> None:
    """If file and module have different weights, each side has its own metrics."""
    in_file, module = Classifier(), Classifier()
    found = evaluate(exported(in_file, tmp_path / "a"), module, loader())
    assert found["val_loss"][0] == pytest.approx(expected(module)["val_loss"], rel=1e-5)
    assert found["val_loss"][1] == pytest.approx(expected(in_file)["val_loss"], rel=1e-5)


@pytest.mark.slow
def test_limit(tmp_path: Path) -> None:
    module = Classifier()
    found = evaluate(exported(module, tmp_path / "a"), module, loader(), limit_batches=1)
    inputs, labels = loader().dataset[:8]  # type: ignore[misc]
    assert found["val_loss"][1] == pytest.approx(F.cross_entropy(module.net(inputs), labels).item(), rel=1e-5)


@pytest.mark.slow
def test_in_a_run(trainer: Any, tmp_path: Path) -> None:
    checks = [MetricParity()]
    callback = ONNXExport(tmp_path / "onnx", checks=checks, weights="live")
    module = Classifier()
    runs = trainer(callback)
    runs.fit(module, loader(), loader())
    found = metrics_of(callback.artifact)  # type: ignore[arg-type]
    assert found["status"] == "passed", found
    for name, value in expected(module).items():
        row = found["figures"]["metrics"][name]
        assert row["module"] == pytest.approx(value, rel=1e-5)
        assert row["onnx"] == pytest.approx(value, rel=1e-5)
        assert callback.artifact.scalars()[f"onnx/metrics/{name}"] == row["onnx"]  # type: ignore[union-attr]
    assert found["figures"]["samples"] == 44
    assert found["figures"]["metrics"]["val/acc"]["allowed"] == pytest.approx(1 / 44, rel=1e-3)
    assert runs.callback_metrics["val_loss"] == pytest.approx(expected(module)["val_loss"], rel=1e-5)
    for page in (callback.artifact.report.html(), callback.artifact.report.text()):  # type: ignore[union-attr]
        assert "val_sure" in page.replace("<wbr>", "")


@pytest.mark.slow
def test_training_is_the_same_with_and_without(trainer: Any, tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    states = []
    for export_too in (True, False):
        torch.manual_seed(3)
        module = Classifier()
        callbacks: list[Any] = [ModelCheckpoint(tmp_path / str(export_too), monitor="val_loss", save_top_k=-1)]
        if export_too:
            callbacks.append(ONNXExport(tmp_path / "onnx", when="checkpoint", checks=[MetricParity()]))
        trainer(*callbacks, max_epochs=3).fit(module, loader(shuffle=True), loader())
        states.append(module.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    made = callbacks and list((tmp_path / "onnx").glob("*/manifest.json"))
    assert len(made) == 3
    assert all(metrics_of(ONNXArtifact.load(m.parent))["status"] == "passed" for m in made)


def test_torchmetrics_and_callbacks_say_what_is_better() -> None:
    call = ExportedCall("forward", Signature((), ()), (("x",),), ((),))
    validation = Validation(Classifier(), Loaders(loader(), missing=None, modes={"val_sure": "min"}), call)
    assert validation.measure(None).modes == {"val/acc": "max", "val_sure": "min"}


def changed(artifact: ONNXArtifact, change: Any) -> None:
    """Write other weights into an artifact's file."""
    model = onnx.load(artifact.model_path)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), tensor.name))
    onnx.save(model, artifact.model_path)


def checked(module: nn.Module, artifact: ONNXArtifact, **options: Any) -> dict[str, Any]:
    """Run the check on a file that was changed."""
    from lightning_onnx.runtimes.worker import client

    call = ExportedCall("forward", artifact.signature, (("x",),), ((),))
    validation = Validation(module, Loaders(loader(), missing=None), call)
    context = CheckContext(
        file=CheckedFile(artifact.model_path, artifact.signature, client.hosted("onnxruntime")),
        module=CheckedModule(list, list),
        inputs=CheckInputs((), validation=validation),
    )
    return MetricParity(**options)(context).to_dict()


@pytest.mark.slow
def test_wrong_numbers_fail(tmp_path: Path) -> None:
    module = Classifier()
    artifact = exported(module, tmp_path / "a")
    assert checked(module, artifact)["status"] == "passed"
    changed(artifact, lambda a: a * np.float32(3))
    found = checked(module, artifact)
    assert found["status"] == "failed"
    assert found["figures"]["metrics"]["val_loss"]["status"] == "failed"
    assert "val_loss" in found["reason"]
    wide = {"val_loss": 10.0, "val/acc": 1.0, "val_sure": 100.0}
    assert checked(module, artifact, tolerances=wide)["status"] == "passed"


@pytest.mark.slow
def test_nan_on_one_side_fails(tmp_path: Path) -> None:
    module = Classifier()
    artifact = exported(module, tmp_path / "a")
    changed(artifact, lambda a: a * np.float32("nan"))
    found = checked(module, artifact)
    assert found["status"] == "failed"
    assert found["figures"]["metrics"]["val_loss"]["onnx"] is None


class LossInside(Classifier):
    """As transformers do: with labels, the loss is made in forward."""

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:  # type: ignore[override]
        logits = self.net(x)
        return {"logits": logits} if labels is None else {"logits": logits, "loss": F.cross_entropy(logits, labels)}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        found = self(batch[0], labels=batch[1])
        self.log("val_loss", found["loss"])
        self.log("val_acc", (found["logits"].argmax(-1) == batch[1]).float().mean())


@pytest.mark.slow
def test_values_missing_in_the_graph_are_reported(tmp_path: Path) -> None:
    module = LossInside()
    artifact = exported(module, tmp_path / "a", checks=[MetricParity()], dataloaders=loader())
    found = metrics_of(artifact)
    assert found["status"] == "passed"
    assert found["figures"]["metrics"]["val_acc"]["status"] == "passed"
    assert found["figures"]["metrics"]["val_loss"]["status"] == "skipped"
    assert "loss, which the graph does not return" in found["reason"]


class Density(Classifier):
    """Its forward returns a distribution, whose probabilities the validation step uses."""

    def forward(self, x: torch.Tensor) -> Any:
        return Categorical(logits=self.net(x))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", -self(batch[0]).log_prob(batch[1]).mean())


@pytest.mark.slow
def test_a_distribution_is_rebuilt_from_the_outputs_of_the_file(tmp_path: Path) -> None:
    in_file, module = Density(), Density()
    found = evaluate(exported(in_file, tmp_path / "a"), module, loader())
    assert found["val_loss"][0] == pytest.approx(expected(module)["val_loss"], rel=1e-5)
    assert found["val_loss"][1] == pytest.approx(expected(in_file)["val_loss"], rel=1e-5)


class Scaled(LightningDataModule):
    """Its hook changes the loader's batches."""

    def train_dataloader(self) -> Any:
        return loader()

    def val_dataloader(self) -> Any:
        return loader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch[0] * 3 - 1, batch[1]


@pytest.mark.slow
def test_hooks_of_a_data_module(trainer: Any, tmp_path: Path) -> None:
    callback = ONNXExport(tmp_path / "onnx", checks=[MetricParity()], weights="live")
    runs, data, module = trainer(callback), Scaled(), Classifier()
    runs.fit(module, datamodule=data)
    found = metrics_of(callback.artifact)  # type: ignore[arg-type]
    seen = runs.callback_metrics["val_loss"].item()
    assert found["figures"]["metrics"]["val_loss"]["module"] == pytest.approx(seen, rel=1e-5)
    assert data.trainer is runs
    assert evaluate(str(callback.artifact.directory), module, data)["val_loss"][1] == pytest.approx(seen, rel=1e-4)  # type: ignore[union-attr]
    assert data.trainer is runs


@pytest.mark.slow
def test_generators_of_loaders_are_left_as_they_were(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    module = Classifier()
    found = evaluate(exported(module, tmp_path / "a"), module, loader(shuffle=True, generator=generator))
    assert torch.equal(generator.get_state(), before)
    assert found["val_loss"][0] == pytest.approx(found["val_loss"][1], rel=1e-5)


class NeedsTheFit(Classifier):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])
        raise FileNotFoundError(f"/nfs/someone/{self.trainer.datamodule.name}")  # type: ignore[attr-defined]


class NoStep(LightningModule):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed"])
def test_precisions_and_the_other_package(precision: str, trainer: Any, tmp_path: Path) -> None:
    import pytorch_lightning

    class Other(pytorch_lightning.LightningModule):  # type: ignore[name-defined, misc]
        __init__, forward, training_step = Classifier.__init__, Classifier.forward, Classifier.training_step

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    callback = ONNXExport(tmp_path / "onnx", checks=[MetricParity()], weights="live")
    module: Any = Other.__new__(Other)
    pytorch_lightning.LightningModule.__init__(module)
    module.net, module.accuracy = Classifier().net, MulticlassAccuracy(4)
    trainer(callback, package=pytorch_lightning.Trainer, precision=precision).fit(module, loader(), loader())
    found = metrics_of(callback.artifact)  # type: ignore[arg-type]
    assert found["status"] == "passed", found


class NeverCalled(Classifier):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))


class Twice(Classifier):
    """Calls forward twice a step, and logs for several loaders."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_gap", (self(batch[0]) - self(batch[0] + 1)).abs().mean())


@pytest.mark.slow
def test_feeds_are_the_inputs_of_the_graph(tmp_path: Path) -> None:
    from lightning_onnx.artifacts.stand_in import ExportedCall
    from lightning_onnx.checks.loaders import Loaders
    from lightning_onnx.checks.validation import Validation

    call = ExportedCall("forward", exported(Classifier(), tmp_path / "a").signature, (("x",),), ((),))
    feeds = Validation(Twice(), Loaders(loader(), missing=None), call).feeds(2)
    rows = loader().dataset[:16][0].numpy()  # type: ignore[misc]
    wanted = [rows[:8], rows[:8] + 1, rows[8:], rows[8:] + 1]
    assert all(np.array_equal(f["x"], w) for f, w in zip(feeds, wanted, strict=True))


@pytest.mark.slow
def test_several_loaders(tmp_path: Path) -> None:
    module = Twice()
    found = evaluate(exported(module, tmp_path / "a"), module, [loader(), loader(16)])
    assert set(found) == {"val_gap/dataloader_idx_0", "val_gap/dataloader_idx_1"}
    assert all(a == pytest.approx(b, rel=1e-4) for a, b in found.values())


class Shuffled(torch.utils.data.IterableDataset[Any]):
    """Returns different rows each time."""

    def __init__(self) -> None:
        self.times = 0

    def __iter__(self) -> Any:
        self.times += 1
        generator = torch.Generator().manual_seed(self.times)
        yield from ((torch.randn(6, generator=generator), torch.tensor(1)) for _ in range(8))


def reason_to_skip(module: nn.Module, directory: Path, **options: Any) -> str:
    found = metrics_of(exported(module, directory, checks=[MetricParity()], **options))
    assert found["status"] == "skipped"
    return str(found["reason"])


@pytest.mark.slow
def test_reasons_to_skip(tmp_path: Path) -> None:
    others = DataLoader(Shuffled(), batch_size=4)
    assert "never calls" in reason_to_skip(NeverCalled(), tmp_path / "a", dataloaders=loader())
    assert "no validation batches" in reason_to_skip(Classifier(), tmp_path / "b")
    assert "outside the training: AttributeError" in reason_to_skip(NeedsTheFit(), tmp_path / "f", dataloaders=loader())
    assert "NoStep has no validation_step" in reason_to_skip(NoStep(), tmp_path / "g", dataloaders=loader())
    assert "not a LightningModule" in reason_to_skip(Classifier().net, tmp_path / "c", dataloaders=loader())
    assert "different batches each time" in reason_to_skip(Classifier(), tmp_path / "d", dataloaders=others)
    with pytest.raises(SampleError, match="different batches"):
        evaluate(exported(Classifier(), tmp_path / "e"), Classifier(), others)


@pytest.mark.slow
def test_a_shuffling_loader_gives_both_runs_the_same_batches(tmp_path: Path) -> None:
    module = Classifier()
    found = evaluate(exported(module, tmp_path / "a"), module, loader(shuffle=True), limit_batches=2)
    assert found["val_loss"][0] == pytest.approx(found["val_loss"][1], rel=1e-5)


@pytest.mark.slow
def test_without_validation_in_the_run(trainer: Any, tmp_path: Path) -> None:
    callback = ONNXExport(tmp_path / "onnx", checks=[MetricParity()], weights="live")
    trainer(callback).fit(Classifier(), loader())
    assert "no validation batches" in metrics_of(callback.artifact)["reason"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "own", "other", "status"),
    [
        ("acc", 0.90, 0.89, "passed"),  # one of 100
        ("acc", 0.90, 0.88, "failed"),
        ("f1", 0.90, 0.91, "passed"),
        ("val_r2", 0.90, 0.905, "failed"),
        ("val_l1", 0.90, 0.905, "failed"),
        ("val_pearson", 0.90, 0.905, "failed"),
        ("unheard_of", 0.90, 0.905, "failed"),
        ("val_loss", 0.90, 0.9008, "passed"),
        ("val_loss", 0.90, 0.91, "failed"),
        ("rmse", 0.5, 0.509, "failed"),
        ("errors", 12.0, 13.0, "failed"),  # an error according to its name, not a count of correct ones
        ("right", 12.0, 13.0, "passed"),
        ("right", 12.0, 14.0, "failed"),
        ("margin", 12.5, 12.51, "passed"),
        ("margin", 12.5, 12.6, "failed"),
        ("nothing", float("nan"), float("nan"), "skipped"),
        ("infinite", float("inf"), float("-inf"), "failed"),
        ("missing", 1.0, None, "failed"),
    ],
)
def test_tolerances(name: str, own: float, other: float | None, status: str) -> None:
    module = LoopResult({name: own}, ["a"], Counter({0: 100}))
    onnx_ = LoopResult({} if other is None else {name: other}, ["a"])
    assert MetricParity().compare(module, onnx_).status == status
    row = MetricParity().compare(module, onnx_).figures["metrics"][name]
    assert row["status"] == status


def test_a_tolerance_for_a_metric_that_is_not_logged_fails() -> None:
    found = MetricParity(tolerances={"val_los": 1.0}).compare(
        LoopResult({"a": 1.0}, ["x"]), LoopResult({"a": 1.0}, ["x"])
    )
    assert found.status == "failed"
    assert "val_los: it has a tolerance" in str(found.reason)


def test_one_sample_of_the_loader_that_a_metric_is_of() -> None:
    own = LoopResult({"acc/dataloader_idx_0": 0.5, "acc/dataloader_idx_1": 0.5}, ["x"], Counter({0: 4, 1: 100}))
    other = LoopResult({"acc/dataloader_idx_0": 0.75, "acc/dataloader_idx_1": 0.75}, ["x"])
    rows = MetricParity().compare(own, other).figures["metrics"]
    assert [row["status"] for row in rows.values()] == ["passed", "failed"]


def test_nothing_logged_does_not_pass() -> None:
    assert MetricParity().compare(LoopResult(), LoopResult()).status == "skipped"
    assert MetricParity().compare(LoopResult({"a": 1.0}, ["x"]), LoopResult({"a": 1.0}, ["y"])).status == "skipped"


@pytest.mark.parametrize(
    "options",
    [
        {"limit_batches": 0},
        {"limit_batches": 2.5},
        {"limit_batches": "x"},
        {"tolerances": {"a": -1}},
        {"tolerances": {"a": "b"}},
        {"runtime": "tvm"},
    ],
)
def test_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        MetricParity(**options)


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MetricParity().limit_batches = 3  # type: ignore[misc]
