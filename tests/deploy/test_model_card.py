"""The model card: metadata that the Hub reads, and code that gets and runs the model."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_onnx import ONNXArtifact
from lightning_onnx.deploy import model_card
from lightning_onnx.deploy.hub import Hub, make_writable, push
from tests.deploy.hub_server import Hub as Server

WANTED = Hub("user/net", pipeline_tag="tabular-regression")


def with_record(artifact: ONNXArtifact, **changes: Any) -> ONNXArtifact:
    return ONNXArtifact(artifact.directory, dataclasses.replace(artifact.record, **changes).to_dict())


def data_of(card: str) -> Any:
    return pytest.importorskip("huggingface_hub").ModelCard(card).data


def test_metadata(exported: ONNXArtifact) -> None:
    source = dataclasses.replace(exported.record.source, monitor="val/loss", score=0.25)
    artifact = with_record(exported, source=source, metadata={"license": "mit"})
    data = data_of(model_card.render(artifact, WANTED))
    assert (data.library_name, data.pipeline_tag, data.license) == ("onnx", "tabular-regression", "mit")
    (result,) = data.eval_results
    assert (result.task_type, result.metric_type, result.metric_value) == ("tabular-regression", "val/loss", 0.25)


def test_measured_metrics_come_before_the_monitored_one_and_are_finite(exported: ONNXArtifact) -> None:
    source = dataclasses.replace(exported.record.source, monitor="val_loss", score=0.25)
    scalars = {"metrics/acc": 0.5, "metrics/f1": float("nan"), "size_mib": 1.0}
    data = data_of(model_card.render(with_record(exported, source=source, scalars=scalars), WANTED))
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {"acc": 0.5}


def test_without_metrics_there_is_no_table_of_results(exported: ONNXArtifact) -> None:
    card = model_card.render(exported, Hub("user/net"))
    assert "model-index" not in card
    assert data_of(card).pipeline_tag is None


def test_the_text_has_signature_checks_and_verdict(exported: ONNXArtifact) -> None:
    card = model_card.render(exported, WANTED)
    assert model_card.MARK in card
    for part in ("# net", "Safe to deploy", "| input | input | float32 |", "| parity | passed |"):
        assert part in card, part


@pytest.mark.slow
def test_the_code_of_the_card_runs(exported: ONNXArtifact, hub: Server, tmp_path: Path) -> None:
    make_writable(WANTED)
    push(exported, WANTED)
    card = hub.repositories["user/net"].files["README.md"].decode()
    (code,) = re.findall(r"^```python\n(.*?)^```", card, re.DOTALL | re.MULTILINE)
    (tmp_path / "work").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "work", env=dict(os.environ), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout == "output float32 (2, 2)\n", done.stderr
    assert ONNXArtifact.load(tmp_path / "work" / "net").manifest == exported.manifest
