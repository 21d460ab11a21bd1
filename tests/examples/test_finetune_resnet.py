"""The demo, run as users do, and checked independently."""

from __future__ import annotations

import csv
import getpass
import json
import re
import socket
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from docs.made import IMAGES, outline

from .running import REPOSITORY, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def output(root: Path) -> str:
    """What the demo prints; it fails when artifact and module differ by more than one digit."""
    return run("finetune_resnet.py", "--epochs", "1", "--root", root, cwd=root)


@pytest.fixture(scope="module")
def artifact(root: Path, output: str) -> Path:
    (manifest,) = (root / "tensorboard").rglob("manifest.json")
    return manifest.parent


def test_output_tells_the_result(output: str, artifact: Path) -> None:
    assert re.search(r"parity +passed +onnxruntime", output)
    assert str(artifact) in output
    module, onnx_file = re.findall(r"(\d+) right +\d+\.\d+%", output)
    assert abs(int(module) - int(onnx_file)) <= 1


def test_the_report_in_the_documents_is_not_older_than_the_page(artifact: Path) -> None:
    """If it is, ``make docs`` makes a new one."""
    assert outline(artifact / "report.html") == outline(IMAGES / "report.html")


def test_model_is_valid_and_its_batch_is_free(artifact: Path) -> None:
    path = artifact / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    graph = onnx.load(path).graph
    dims = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (graph.input[0], graph.output[0])
    ]
    assert dims == [["batch", 8, 8], ["batch", 10]]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3, 129):
        (logits,) = session.run(None, {"images": np.zeros((batch, 8, 8), np.float32)})
        assert logits.shape == (batch, 10)


def test_files_hold_nothing_private(artifact: Path, root: Path) -> None:
    private = {str(root), str(REPOSITORY), str(Path.home()), sys.prefix, socket.gethostname(), f"/{getpass.getuser()}"}
    private = {text for text in private if len(text) > 4}  # shorter ones turn up in weights by chance
    for path in artifact.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [text for text in private if text.encode() in content] == [], path
            assert re.findall(rb"[\w.-]*/[\w.-]+\.py\b", content) == [], path


def test_loggers_have_files_and_scalars(artifact: Path, root: Path) -> None:
    (copy,) = (root / "csv").rglob("manifest.json")
    assert json.loads(copy.read_text()) == json.loads((artifact / "manifest.json").read_text())
    (metrics,) = (root / "csv").rglob("metrics.csv")
    with metrics.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["onnx/parity_passed"] for row in rows if row.get("onnx/parity_passed")] == ["1.0"]
    assert list((root / "tensorboard").rglob("onnx_graph/events.out.tfevents.*"))
