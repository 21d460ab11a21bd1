from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import yaml

from lightning_onnx import ONNXArtifact
from tests import outside

from .running import REPOSITORY, run

pytestmark = pytest.mark.slow
ONE_EPOCH = ("--trainer.max_epochs=1", "--trainer.enable_progress_bar=false")


def test_config_file_and_the_one_that_the_run_saves(tmp_path: Path) -> None:
    config = REPOSITORY / "examples" / "cli" / "config.yaml"
    run("cli/main.py", "fit", "--config", config, *ONE_EPOCH, cwd=tmp_path)
    (first,) = tmp_path.rglob("model.onnx")
    assert outside.opset(first) == 18
    assert outside.shapes(first) == {"images": ["rows", 64], "logits": ["rows", 10]}
    assert {"licence": "CC BY 4.0"}.items() <= {p.key: p.value for p in onnx.load(first).metadata_props}.items()
    checks = {c["name"]: c for c in ONNXArtifact.load(first.parent).manifest["checks"]}
    assert {name: check["status"] for name, check in checks.items()} == dict.fromkeys(
        ("parity", "metrics", "latency", "runtimes"), "passed"
    )
    variants = ONNXArtifact.load(first.parent).manifest["variants"]
    assert {v["name"]: v["status"] for v in variants} == {"fp16": "passed", "int8": "passed"}
    assert {"batch_1", "batch_32"} <= set(checks["latency"]["figures"])

    (saved,) = (tmp_path / "lightning_logs" / "version_0").glob("config.yaml")
    run("cli/main.py", "fit", "--config", saved, cwd=tmp_path)
    (second,) = (tmp_path / "lightning_logs" / "version_1").rglob("model.onnx")
    assert second.read_bytes() == first.read_bytes()


def test_one_line(tmp_path: Path) -> None:
    line = [
        "--trainer.callbacks+=lightning_onnx.ONNXExport",
        "--trainer.callbacks.opset_version=17",
        "--trainer.callbacks.output_names=[logits]",
        "--trainer.callbacks.log_artifacts=false",
    ]
    run("cli/main.py", "fit", *ONE_EPOCH, *line, cwd=tmp_path)
    (model,) = tmp_path.rglob("model.onnx")
    assert outside.opset(model) == 17
    assert outside.shapes(model)["logits"] == ["batch", 10]
    (saved,) = tmp_path.rglob("config.yaml")
    (callback,) = yaml.safe_load(saved.read_text())["trainer"]["callbacks"]
    assert callback["class_path"] == "lightning_onnx.ONNXExport"
    assert callback["init_args"]["checks"] is None
