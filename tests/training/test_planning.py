"""The plan of preflight is used until the module or its calls change."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_onnx import MetricParity, ONNXExport, ParityError, SampleError
from lightning_onnx.module.calls.observer import ForwardObserver
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.training.planning import Planner
from tests import models


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).relu()


class Watched:
    """A module, its planner, and the stages that the planner announced."""

    def __init__(self, *shapes: tuple[int, ...], **options: Any) -> None:
        self.module, self.stages = Net(), list[str]()
        self.observer = ForwardObserver(self.module, "forward")
        self.planner = Planner(ExportConfig(**options), self.observer)
        for shape in shapes:
            self.call(*shape)

    def call(self, *shape: int) -> None:
        self.observer.see_batch(torch.zeros(shape), shape[0])
        self.observer.attach()
        self.module(torch.randn(shape))
        self.observer.detach()

    def current(self) -> Any:
        self.stages.clear()
        return self.planner.current(self.module, self.copied(), self.stages.append)

    def copied(self) -> Any:
        copied = private_copy(self.module)
        self.planner.config.around.attach(copied)
        return copied

    @property
    def is_current(self) -> bool:
        return self.planner.is_current(self.module, self.copied())


def test_the_plan_is_kept() -> None:
    watched = Watched((3, 4))
    assert not watched.is_current
    plan = watched.current()
    assert watched.stages == ["tracing"]
    assert watched.is_current
    torch.nn.init.zeros_(watched.module.layer.weight)
    assert watched.current() is plan
    assert watched.stages == []


@pytest.mark.slow
def test_a_changed_structure_is_traced_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    watched = Watched((3, 4))
    plan = watched.current()
    assert "tracing Net.forward again" not in caplog.text
    copied = private_copy(watched.module)
    assert plan.changed(copied) is None
    other = dataclasses.replace(plan, attributes={**plan.attributes, ("layer", "scale"): "1"})
    assert other.changed(copied) == "what it reads changed: layer.scale"
    watched.module.layer = torch.nn.Linear(4, 5)
    assert not watched.is_current
    assert watched.current().graph is not plan.graph
    assert watched.stages == ["tracing"]
    assert "tracing Net.forward again: its layers, or the shapes of its weights, changed" in caplog.text


def test_calls_that_fit_are_added_without_a_trace() -> None:
    watched = Watched((3, 4))
    plan = watched.current()
    watched.call(5, 4)
    assert watched.is_current
    extended = watched.current()
    assert watched.stages == []
    assert extended.graph is plan.graph
    assert len(extended.cases) > len(plan.cases)


@pytest.mark.slow
def test_calls_change_nothing_where_a_raw_sample_has_free_sizes() -> None:
    watched = Watched((3, 4), preprocess=lambda raw: raw.mean(1), sample=torch.rand(2, 9, 4))
    plan = watched.current()
    assert isinstance(plan.graph.signature.inputs[0].shape[1], str)
    watched.call(5, 4)
    assert watched.current().graph is plan.graph
    assert watched.stages == []


class Entries(Net):
    """Uses one entry of a batch."""

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.layer(batch["x"]).relu()

    def training_step(self, batch: Any) -> torch.Tensor:
        loss = torch.nn.functional.mse_loss(self(batch), batch["y"])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("checks", [None, [], [MetricParity()]])
def test_a_run_traces_once(checks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the batch holds, the last batch's size, the number of checkpoints, and the checks."""
    traces, export = [], torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda *args, **options: traces.append(1) or export(*args, **options))
    rows = [{"x": torch.randn(4), "y": torch.randn(2), "weight": torch.rand(())} for _ in range(7)]
    callback = ONNXExport(when="checkpoint", **({} if checks is None else {"checks": checks}))
    kept = ModelCheckpoint(tmp_path / "kept", monitor="loss", save_top_k=-1)
    trainer = Trainer(
        max_epochs=3, callbacks=[callback, kept], default_root_dir=tmp_path, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Entries(), DataLoader(rows, batch_size=4))
    assert len(callback.artifacts) == 3
    assert traces == [1]
    assert callback.artifact is not None
    assert [spec.name for spec in callback.artifact.signature.inputs] == ["batch_x"]
    left = "left out of the graph, which does not use it: batch.y, batch.weight"
    assert left in callback.artifact.manifest["notes"]


@pytest.mark.slow
def test_a_dim_that_comes_to_vary_is_traced_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    watched = Watched((3, 6, 4))
    plan = watched.current()
    assert list(plan.graph.signature.inputs[0].shape) == ["batch", 6, 4]
    watched.call(3, 7, 4)
    assert not watched.is_current
    shape = watched.current().graph.signature.inputs[0].shape
    assert watched.stages == ["tracing"]
    assert "again: its calls have other inputs, or other sizes, than when it was traced" in caplog.text
    assert isinstance(shape[1], str)


@pytest.mark.parametrize(
    ("shapes", "example", "options", "source", "sizes"),
    [
        ([(3, 4)], (2, 4), {"sample": torch.zeros(7, 4)}, "the given sample", ("training", 3)),
        pytest.param(
            [], (2, 4), {"sample": torch.zeros(7, 4)}, "the given sample", ("sample", 7), marks=pytest.mark.slow
        ),
        ([(3, 4)], (2, 4), {}, "training", ("training", 3)),
        ([], (2, 4), {}, "example_input_array", ("sample", 2)),
        ([], None, {}, "the batch matched to the method's signature", ("training", 3)),
    ],
)
def test_where_the_sample_and_the_sizes_come_from(
    shapes: Any, example: Any, options: Any, source: str, sizes: tuple[str, int]
) -> None:
    watched = Watched(*shapes, **options)
    watched.observer.see_batch(torch.zeros(3, 4), 3)
    watched.module.example_input_array = None if example is None else torch.zeros(example)
    plan = watched.current()
    assert source in plan.source
    assert (plan.sizes.origin, plan.sizes.dims["batch"].max) == sizes


class Gated(models.Classifier):
    """Takes another branch if the scores are large; the file keeps the branch of the traced call."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return scores * -3 if scores.mean() > 1 else scores


@pytest.mark.slow
def test_preflight_refuses_a_wrong_decision_and_names_its_line(fit: Any, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"based on tensor values.* test_planning.py:\d+ \(bool\(\) of a tensor\)"):
        fit(Gated(), ONNXExport(tmp_path / "onnx", engine="torchscript"))


@pytest.mark.slow
def test_with_preflight_that_warns_the_check_fails_after_training(fit: Any, tmp_path: Path) -> None:
    callback = ONNXExport(tmp_path / "onnx", engine="torchscript", preflight="warn")
    fit(Gated(), callback)
    assert callback.artifact is not None
    assert not callback.artifact.passed
    (check,) = callback.artifact.manifest["checks"]
    assert "change the decision of the traced call at test_planning.py" in check["reason"]
    assert any("makes a decision based on tensor values" in note for note in callback.artifact.manifest["notes"])


class Unreadable:
    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        raise IndexError("no fields yet")


def test_what_could_not_be_recorded_is_part_of_the_error(fit: Any) -> None:
    class Takes(models.NeverCallsForward):
        def forward(self, item: Any, other: Any) -> Any:
            return self.head.weight

        def call(self, batch: Any) -> Any:
            self(Unreadable(), None)
            return models.NeverCallsForward.call(self, batch)

        def batches(self) -> Any:
            return [torch.zeros(2, 6)]

    with pytest.raises(SampleError, match=r"forward could not be recorded \(IndexError: no fields yet\)") as caught:
        fit(Takes(), ONNXExport())
    assert isinstance(caught.value.__cause__, IndexError)


@pytest.mark.slow
def test_what_could_not_be_recorded_is_a_note() -> None:
    watched = Watched((3, 4))
    watched.observer.attach()
    watched.observer.record((Unreadable(),), {})
    watched.observer.detach()
    assert "a call of forward could not be recorded (IndexError: no fields yet)" in watched.current().notes


class Guarded(Net):
    """Refused by every capture that follows no values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.isnan().any():
            raise ValueError("NaN")
        return super().forward(x)


@pytest.mark.slow
def test_what_preflight_has_seen_refused_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is traced anew where a dim came to vary, and only by the capture that took the module."""
    captured: list[bool] = []
    export = torch.export.export

    def counted(*args: Any, **kwargs: Any) -> Any:
        captured.append(kwargs.get("strict", False))
        return export(*args, **kwargs)

    monkeypatch.setattr(torch.export, "export", counted)
    watched = Watched(engine="dynamo")
    watched.module = Guarded()
    watched.observer = ForwardObserver(watched.module, "forward")
    watched.planner = Planner(watched.planner.config, watched.observer)
    watched.call(3, 5, 4)
    plan = watched.current()
    assert len(captured) > 2
    captured.clear()
    watched.call(3, 7, 4)
    assert watched.current().graph is not plan.graph
    assert len(captured) == 1


class Steps(LightningModule):
    """Takes a batch with Python numbers, which differ from batch to batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        x = batch["x"]
        for _ in range(batch["steps"]):
            x = x + batch["size"] * self.layer(x)
        return x if batch["forward"] else -x

    def training_step(self, batch: dict[str, Any]) -> Tensor:
        return self(batch).square().mean()

    def validation_step(self, batch: dict[str, Any]) -> None:
        self(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


def audible(tmp_path: Path, callback: ONNXExport) -> Trainer:
    """Return a Trainer of one epoch; unlike the fixture's, it lets warnings through."""
    return Trainer(
        default_root_dir=tmp_path,
        max_epochs=1,
        accelerator="cpu",
        callbacks=[callback],
        enable_progress_bar=False,
        logger=False,
    )


class Tasks(Steps):
    """Has a head for each task, and an input that some batches lack."""

    def forward(self, x: Tensor, task: str, mask: Tensor | None = None) -> Tensor:
        y = self.layer(x) if task == "a" else -self.layer(x)
        return y if mask is None else y * mask

    def training_step(self, batch: dict[str, Any]) -> Tensor:
        return self(**batch).square().mean()

    def validation_step(self, batch: dict[str, Any]) -> None:
        self(**batch)


@pytest.mark.slow
def test_calls_that_the_file_is_not_for_are_told(tmp_path: Path) -> None:
    """The file is for one task, and takes the mask: it can answer neither the other task nor calls without a mask."""
    x, mask = torch.randn(4, 4), torch.ones(4, 4)
    batches: list[Any] = [{"x": x, "task": "a", "mask": mask}, {"x": x, "task": "b", "mask": mask}]
    callback = ONNXExport()
    with pytest.warns(UserWarning, match="always takes"):
        audible(tmp_path, callback).fit(
            Tasks(),
            DataLoader([*batches, {"x": x, "task": "a"}], batch_size=None),
            DataLoader(batches[:1], batch_size=None),
        )
    assert callback.artifact is not None
    notes = callback.artifact.manifest["notes"]
    assert any("other values in other calls: task (str);" in note for note in notes)
    assert "the graph always takes 'mask', which 1 observed call lacked" in notes


class Guided(Steps):
    """Is called with a condition in some steps only, as for guidance without a classifier."""

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        y = self.layer(x)
        return y if condition is None else y * condition

    def training_step(self, batch: dict[str, Any]) -> Tensor:
        return self(**batch).square().mean()


@pytest.mark.slow
def test_an_input_of_rare_calls_that_the_file_does_not_take_is_told(tmp_path: Path) -> None:
    """The file answers as if there were no condition; one that ``exclude_inputs`` names is not missed."""
    x = torch.randn(4, 4)
    batches: list[Any] = [{"x": x}, {"x": x, "condition": torch.full((4, 4), 2.0)}, {"x": x}]
    notes = []
    for excluded in ((), ("condition",)):
        callback = ONNXExport(exclude_inputs=excluded)
        audible(tmp_path, callback).fit(Guided(), DataLoader(batches, batch_size=None))
        assert callback.artifact is not None
        notes.append([note for note in callback.artifact.manifest["notes"] if "observed call" in note])
    assert notes == [["the graph does not take 'condition', which 1 observed call had"], []]


@pytest.mark.slow
def test_python_numbers_that_vary_after_preflight_are_told(tmp_path: Path) -> None:
    """The file computes with the numbers of the traced call: on other batches it is wrong."""
    batches: list[Any] = [
        {"x": torch.randn(4, 4), "size": 0.1 * (1 + i), "steps": 1 + i, "forward": i < 3, "kind": "a"} for i in range(4)
    ]
    loader = DataLoader(batches, batch_size=None)
    callback = ONNXExport()
    note = (
        "arguments that are not tensors had other values in other calls: batch.size (float), batch.steps (int), "
        "batch.forward (bool); the graph computes with those of the traced call"
    )
    with pytest.warns(UserWarning, match="batch.forward"):
        audible(tmp_path, callback).fit(Steps(), loader, loader)
    assert callback.artifact is not None
    assert [n for n in callback.artifact.manifest["notes"] if "other calls" in n] == [note]
