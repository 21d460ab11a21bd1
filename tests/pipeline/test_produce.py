"""One artifact from a plan and a module: the stages, and checks that raise or cannot run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_onnx import Float16, Parity
from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.errors import ArtifactError
from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.source import Source
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.plan import Plan
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.pipeline.produce import produce
from lightning_onnx.runtimes.worker.client import HostedRuntime, HostedSession
from tests.module.calls.observing import Applies


class Breaking:
    """A check with an error in its code."""

    name = "breaking"

    def __call__(self, context: CheckContext) -> CheckResult:
        raise IndexError("the check is wrong")


def prepared(**options: Any) -> tuple[Plan, LoadedModule]:
    module = private_copy(torch.nn.Linear(4, 2))
    observation = Observation.of(sample_of(module, "forward", ((torch.randn(3, 4),), {})), "a test")
    plan = prepare(module, [observation], ExportConfig(**options))
    return plan, LoadedModule(module, Source(epoch=3, global_step=7))


@pytest.mark.slow
@pytest.mark.parametrize("variants", [(), (Float16(),)])
def test_stages_are_announced_in_order(variants: Any, tmp_path: Path) -> None:
    stages: list[str] = []
    made = produce(*prepared(variants=variants), tmp_path / "made", on_stage=stages.append)
    between = ["making the variants"] if variants else []
    assert stages == ["writing the weights", "checking", *between, "writing the report"]
    assert made.passed
    assert (made.manifest["source"]["epoch"], made.manifest["source"]["global_step"]) == (3, 7)


def test_a_check_that_breaks_has_failed(tmp_path: Path) -> None:
    made = produce(*prepared(checks=[Breaking()]), tmp_path / "made")
    (check,) = made.manifest["checks"]
    assert (check["status"], check["reason"]) == ("failed", "the check itself failed: IndexError: the check is wrong")
    assert not made.passed


def test_without_weights_nothing_is_checked(tmp_path: Path) -> None:
    options = {"export_params": False}
    made = produce(*prepared(checks=[Parity()], variants=[Float16()], export_options=options), tmp_path / "made")
    found = [*made.manifest["checks"], *made.manifest["variants"]]
    assert [(f["status"], f["reason"]) for f in found] == [
        ("skipped", "the file holds no weights (export_params=False)")
    ] * 2
    assert made.scalars()["onnx/parity_passed"] == 0


def masked(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (x @ torch.ones(4, 2)).masked_fill(mask, -torch.inf)


@pytest.mark.slow
@pytest.mark.parametrize("test_data", ["synthetic", None])
def test_the_published_file_has_run_also_where_no_test_data_can_be_made(
    test_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Path] = []
    begin = HostedSession.begin

    def noted(session: HostedSession, inputs: Any) -> Any:
        ran.append(session._path)
        return begin(session, inputs)

    monkeypatch.setattr(HostedSession, "begin", noted)
    mask = torch.zeros(3, 2, dtype=torch.bool)
    mask[:, 0] = True
    module = private_copy(Applies(masked))
    observation = Observation.of(sample_of(module, "forward", ((torch.randn(3, 4), mask), {})), "a test")
    plan = prepare(module, [observation], ExportConfig(test_data=test_data))
    ran.clear()
    made = produce(plan, LoadedModule(module, Source()), tmp_path / "made")
    assert made.passed
    assert not (made.directory / "test_data_set_0").exists()
    assert ran


def test_an_artifact_is_replaced_only_on_request(tmp_path: Path) -> None:
    plan, loaded = prepared()
    first = produce(plan, loaded, tmp_path / "made")
    with pytest.raises(ArtifactError):
        produce(plan, loaded, tmp_path / "made")
    torch.nn.init.ones_(loaded.module.weight)  # type: ignore[arg-type]
    second = produce(plan, loaded, tmp_path / "made", if_taken="replace")
    assert second.directory == first.directory
    assert second.manifest["model"]["sha256"] != first.manifest["model"]["sha256"]


@pytest.mark.slow
def test_a_file_that_nothing_runs_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []
    make = HostedSession.__init__

    def noted(session: HostedSession, runtime: HostedRuntime, path: Path, **options: Any) -> None:
        loaded.append(path)
        make(session, runtime, path, **options)

    silent, tested = prepared(checks=(), test_data=None), prepared(checks=())
    monkeypatch.setattr(HostedSession, "__init__", noted)
    produce(*silent, tmp_path / "silent")
    assert not loaded
    produce(*tested, tmp_path / "tested")
    assert loaded


class TakesOnlyMultiplesOfSeven(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not bool((x % 7 == 0).all()):
            raise ValueError("the code is not in the table")
        return x * 2


@pytest.mark.slow
def test_a_note_says_why_there_is_no_test_data_and_what_helps(tmp_path: Path) -> None:
    codes = torch.tensor([7_000_000, 14_000_007, 21_000_000])
    module = private_copy(TakesOnlyMultiplesOfSeven())
    observation = Observation.of(sample_of(module, "forward", ((codes,), {})), "a test")
    plan = prepare(module, [observation], ExportConfig(checks=()))
    made = produce(plan, LoadedModule(module, Source()), tmp_path / "made")
    (note,) = [note for note in made.manifest["notes"] if note.startswith("no test data")]
    assert "synthetic inputs (ValueError: the code is not in the table). test_data='observed' stores" in note
