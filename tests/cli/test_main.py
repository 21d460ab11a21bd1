"""The command line, as a person types it."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch

import lightning_onnx
from lightning_onnx import ONNXArtifact
from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.parity import Parity
from lightning_onnx.cli import main


class Ends:
    """A check that ends as it is told."""

    name = "ends"

    def __init__(self, status: Any) -> None:
        self.status = status

    def __call__(self, context: CheckContext) -> CheckResult:
        return CheckResult("ends", self.status, "as told")


def make(directory: Path, *checks: Any) -> ONNXArtifact:
    return lightning_onnx.export(torch.nn.Linear(4, 2), torch.randn(3, 4), directory=directory, checks=checks)


@pytest.fixture
def artifact(tmp_path: Path) -> ONNXArtifact:
    return make(tmp_path / "linear", Parity())


Captured = pytest.CaptureFixture[str]


def test_inspect(artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["inspect", str(artifact.directory)]) == 0
    text = capsys.readouterr().out
    signature = r"input +input +float32 +\[batch, 4\]"
    for part in (signature, r"20 \(IR version 10\)", "parity +passed", "Operators\n  Gemm 1"):
        assert re.search(part, text), part


def test_inspect_as_json(artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["inspect", "--json", str(artifact.directory)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == [{"name": "input", "dtype": "float32", "shape": ["batch", 4]}]
    assert found["opset"] == {"ai.onnx": 20}
    assert found["ir_version"] == 10
    assert found["operators"] == {"Gemm": 1}
    assert [(c["name"], c["status"]) for c in found["checks"]] == [("parity", "passed")]


def test_inspect_a_file(artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["inspect", str(artifact.model_path)]) == 0
    text = capsys.readouterr().out
    assert "input: float32[batch, 4]" in text
    assert "operators   Gemm 1" in text
    assert main.main(["inspect", "--json", str(artifact.model_path)]) == 0
    assert json.loads(capsys.readouterr().out)["checks"] == []


@pytest.mark.parametrize(
    ("ends", "code"), [(["passed"], 0), (["failed"], 1), (["skipped"], 3), (["passed", "skipped"], 0), ([], 0)]
)
def test_exit_codes_of_checks(ends: list[str], code: int, tmp_path: Path, capsys: Captured) -> None:
    checks = [Ends(end) for end in ends]
    for i, check in enumerate(checks):
        check.name = f"ends{i}"
    made = make(tmp_path / "x", *checks)
    assert main.main(["inspect", str(made.directory)]) == code


def test_a_damaged_artifact_has_failed(artifact: ONNXArtifact, capsys: Captured) -> None:
    (artifact.directory / "report.md").write_text("else")
    assert main.main(["inspect", str(artifact.directory)]) == 1
    assert "report.md is {" in capsys.readouterr().err


def test_usage(artifact: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    assert main.main(["inspect", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main.main(["inspect", str(tmp_path)]) == 2
    assert str(artifact.directory) in capsys.readouterr().err  # what may have been meant
    (tmp_path / "text.onnx").write_text("no model")
    assert main.main(["inspect", str(tmp_path / "text.onnx")]) == 2
    assert "is no ONNX model" in capsys.readouterr().err
    for wrong in ([], ["fly"], ["inspect"], ["inspect", "--fast", "x"]):
        with pytest.raises(SystemExit) as caught:
            main.main(wrong)
        assert caught.value.code == 2


def test_help_has_examples(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main.main(["--help"])
    text = capsys.readouterr().out
    assert "exit codes:" in text
    for command in ("inspect", "view"):
        assert command in text
        with pytest.raises(SystemExit):
            main.main([command, "--help"])
        assert f"examples:\n  lightning-onnx {command}" in capsys.readouterr().out


def test_view_without_netron(artifact: ONNXArtifact, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "netron" else find_spec(name))
    assert main.main(["view", str(artifact.directory)]) == 1
    assert "pip install netron" in capsys.readouterr().err


@pytest.mark.slow
def test_view_serves_the_model(artifact: ONNXArtifact, unused_port: int) -> None:
    pytest.importorskip("netron")
    code = "import sys; from lightning_onnx.cli import main; sys.exit(main())"
    arguments = ["view", str(artifact.directory), "--no-browser", "--port", str(unused_port)]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], env={**os.environ, "BROWSER": "false"})
    try:
        assert b"Netron" in fetch(f"http://localhost:{unused_port}/")
        model = fetch(f"http://localhost:{unused_port}/data/model.onnx")
        assert model == artifact.model_path.read_bytes()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def fetch(address: str) -> bytes:
    for _ in range(120):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bytes(answer.read())
        except OSError as error:
            last = error
            time.sleep(0.5)
    raise last
