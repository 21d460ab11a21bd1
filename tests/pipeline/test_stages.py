"""An exception at any stage becomes an error of the package, with the module, the stage and the cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lightning_onnx
from lightning_onnx import ONNXExport, ONNXExportError
from lightning_onnx.errors import ArtifactError, StageError, chain
from lightning_onnx.pipeline.stages import stages_named
from tests import models

CAUSES = (TypeError("a fault"), RuntimeError("a fault"), IndexError("a fault"))


def inject(monkeypatch: pytest.MonkeyPatch, place: str, error: Exception) -> None:
    """Make a function raise an exception."""

    def raises(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(f"lightning_onnx.{place}", raises)


STAGES = [
    ("pipeline.export.copying.private_copy", "copying the module"),
    ("pipeline.export.loading.merge_adapters", "merging the adapters"),
    ("pipeline.failing_step.first_that_runs", "deriving the signature"),
    ("pipeline.prepare.derive", "deriving the signature"),
    ("pipeline.prepare.leftover.begins_as_none", "deriving the signature"),
    ("pipeline.search.order", "searching for a graph"),
    ("pipeline.search.limits_of_module", "searching for a graph"),
    ("pipeline.prepare.digests", "describing the graph"),
    ("pipeline.produce.staging.stage", "starting"),
    ("tracing.graph.Graph.refresh", "writing the weights"),
    ("pipeline.method_file.check_context", "checking"),
    ("pipeline.stored_data.make_test_data", "checking"),
    ("pipeline.method_file.judging.make", "making the variants"),
    ("pipeline.method_file.manifest.build", "writing the report"),
    ("report.report.Report.write", "writing the report"),
    ("pipeline.produce.staging.commit", "writing the report"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "stage"), STAGES)
def test_export(place: str, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = CAUSES[len(place) % len(CAUSES)]
    inject(monkeypatch, place, error)
    message = rf"exporting Linear\.forward failed while {stage}: {type(error).__name__}: a fault"
    with pytest.raises(StageError, match=message) as caught:
        lightning_onnx.export(
            nn.Linear(4, 2),
            torch.randn(3, 4),
            directory=tmp_path / "made",
            variants=[lightning_onnx.Float16()] if stage == "making the variants" else [],
        )
    assert caught.value.__cause__ is error
    assert not list(tmp_path.iterdir())


ENGINES = [
    "pipeline.candidate.cases_of",
    "pipeline.candidate.extreme_cases",
    "pipeline.candidate.achieved_signature",
    "pipeline.candidate.comparing",
    "tracing.graph.Graph.write_traced",
    "checks.parity.Parity.judge_each",
]


@pytest.mark.slow
@pytest.mark.parametrize("place", ENGINES)
def test_what_follows_a_trace_is_an_error_of_the_engine(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = CAUSES[len(place) % len(CAUSES)]
    inject(monkeypatch, place, error)
    with pytest.raises(ONNXExportError, match=rf"engine 'torchscript': .*{type(error).__name__}: a fault") as caught:
        lightning_onnx.export(nn.Linear(4, 2), torch.randn(3, 4), directory=tmp_path / "made", opset_version=16)
    assert error in chain(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["tracing.dynamo.dims_of", "tracing.dynamo.DynamoEngine.trace"])
def test_another_engine_is_tried(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, place, RuntimeError("a fault"))
    made = lightning_onnx.export(nn.Linear(4, 2), torch.randn(3, 4), directory=tmp_path / "made")
    assert made.manifest["model"]["engine"] == "torchscript"
    assert made.passed


def test_a_check_that_raises_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, "checks.parity.summarize", IndexError("a fault"))
    made = lightning_onnx.export(nn.Linear(4, 2), torch.randn(3, 4), directory=tmp_path / "made")
    (check,) = made.manifest["checks"]
    assert (check["status"], check["reason"]) == ("failed", "the check itself failed: IndexError: a fault")


@pytest.mark.parametrize(
    ("place", "stage"),
    [
        ("training.exporter.private_copy", "copying the module"),
        ("training.exporter.loading.merge_adapters", "merging the adapters"),
        ("training.planning.Planner._observations", "collecting the calls"),
        ("pipeline.failing_step.first_that_runs", "deriving the signature"),
    ],
)
def test_before_training(fit: Any, place: str, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, place, TypeError("a fault"))
    with pytest.raises(StageError, match=f"exporting Classifier.forward failed while {stage}: TypeError: a fault"):
        fit(models.Classifier(), ONNXExport())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "stage", "on_failure"),
    [
        ("training.jobs.private_copy", "copying the module", "raise"),
        ("training.jobs.loading.merge_adapters", "loading the weights", "warn"),
        ("pipeline.plan.digests", "comparing the module with the last trace", "warn"),
        ("tracing.graph.Graph.refresh", "writing the weights", "warn"),
    ],
)
def test_after_training(fit: Any, place: str, stage: str, on_failure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Module(models.Classifier):
        def on_train_end(self) -> None:
            inject(monkeypatch, place, TypeError("a fault"))

    callback, message = ONNXExport(on_failure=on_failure), f"exporting Module.forward failed while {stage}: TypeError"
    if on_failure == "raise":
        with pytest.raises(StageError, match=message):
            fit(Module(), callback)
    else:
        assert fit(Module(), callback).state.finished
        assert message in callback.failures[0]


def test_errors_of_the_package_stay_as_they_are() -> None:
    error = ArtifactError("exists")
    with pytest.raises(ArtifactError) as caught, stages_named(nn.Linear(1, 1), "forward", "writing"):
        raise error
    assert caught.value is error
