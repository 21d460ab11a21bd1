"""All at once, as people use it: two trained networks on three runtimes, by their metrics, timed, in 8 bits; then again
from the checkpoint alone, by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_onnx import Int8, Latency, MetricParity, ONNXArtifact, ONNXExport, Parity
from lightning_onnx.cli import main
from tests import whole

pytestmark = pytest.mark.slow

RUNTIMES = ("onnxruntime", "openvino", "ncnn")
CHECKS = {"parity", "metrics", "latency", "runtimes"}


@pytest.fixture(scope="module", params=[pytest.param("ResNet", marks=pytest.mark.nightly), "Transformer"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp(request.param)
    checks = [Parity(), MetricParity(), Latency((1, 8), RUNTIMES, seconds=0.3)]
    export = ONNXExport(root / "onnx", checks=checks, runtimes=RUNTIMES, variants=[Int8()])
    saving = ModelCheckpoint(root, monitor="val_acc", mode="max")
    trainer = Trainer(max_epochs=4, accelerator="cpu", logger=False, callbacks=[export, saving],
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(getattr(whole, request.param)(), datamodule=whole.Digits())
    return request.param, export.artifact, saving.best_model_path


def test_after_training(trained: Any) -> None:
    _, artifact, checkpoint = trained
    assert artifact.manifest["source"]["checkpoint"] == Path(checkpoint).name
    holds(artifact)


def test_again_from_only_the_checkpoint(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, first, checkpoint = trained
    monkeypatch.chdir(Path(__file__).parent.parent)
    asked = [x for runtime in RUNTIMES for x in ("--runtime", runtime)]
    arguments = ["export", checkpoint, "--model", f"tests.whole:{name}", "--data", "tests.whole:Digits", "--metrics",
                 "--latency", "1", "8", "--variant", "int8", "-o", str(tmp_path / "made"), "--json"]  # fmt: skip
    assert main.main([*arguments, *asked]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "made"
    again = ONNXArtifact.load(tmp_path / "made")
    holds(again)
    metrics = [figures(a, "metrics")["metrics"] for a in (first, again)]
    for metric in ("val_acc", "val_loss"):
        assert metrics[0][metric]["onnx"] == pytest.approx(metrics[1][metric]["onnx"], rel=1e-4)
    assert main.main(["check", str(again.directory), *asked]) == 0


def figures(artifact: ONNXArtifact, name: str) -> dict[str, Any]:
    (check,) = (c for c in artifact.manifest["checks"] if c["name"] == name)
    return dict(check["figures"])


def holds(artifact: ONNXArtifact) -> None:
    """Compare the manifest with the results of onnxruntime alone on the held-out digits."""
    assert {c["name"]: c["status"] for c in artifact.manifest["checks"]} == dict.fromkeys(CHECKS, "passed")
    assert {r["status"] for r in figures(artifact, "runtimes")["runtimes"].values()} == {"passed"}
    assert {"torch", *RUNTIMES} == set(figures(artifact, "latency")["batch_8"])
    (int8,) = artifact.manifest["variants"]
    assert (int8["name"], int8["status"]) == ("int8", "passed"), int8["reason"]
    in_float32, in_8_bits = accuracy(artifact.model_path), accuracy(artifact.variant_path("int8"))
    assert figures(artifact, "metrics")["metrics"]["val_acc"]["onnx"] == pytest.approx(in_float32, abs=1e-6)
    assert in_float32 > 0.8
    assert in_8_bits >= in_float32 - 0.01
    assert artifact.variant_path("int8").stat().st_size < 0.5 * artifact.model_path.stat().st_size


def accuracy(path: Path) -> float:
    data = whole.Digits()
    data.setup("validate")
    images, labels = data.parts[1][:]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    return float((np.argmax(logits, -1) == labels.numpy()).mean())
