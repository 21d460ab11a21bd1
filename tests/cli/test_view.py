"""``lightning-onnx view``, as it is typed."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lightning_onnx import ONNXArtifact, export
from lightning_onnx.cli import main

Captured = pytest.CaptureFixture[str]


def test_view_without_netron(artifact: ONNXArtifact, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "netron" else find_spec(name))
    assert main.main(["view", str(artifact.directory)]) == 1
    assert "pip install netron" in capsys.readouterr().err


@pytest.mark.slow
def test_view_serves_the_model(artifact: ONNXArtifact, unused_port: int) -> None:
    pytest.importorskip("netron")
    code = "import sys; from lightning_onnx.cli.main import main; sys.exit(main())"
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


class TwoMethods(torch.nn.Module):
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return z - 1


@pytest.mark.slow
def test_view_of_one_of_several_methods(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    netron = SimpleNamespace(start=lambda path, **options: shown.append(Path(path).name), wait=lambda: None)
    monkeypatch.setitem(sys.modules, "netron", netron)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: netron)
    sample = {"encode": torch.zeros(2, 3), "decode": torch.zeros(2, 3)}
    made = export(TwoMethods(), method=["encode", "decode"], sample=sample, directory=tmp_path / "made")
    for more in ([], ["--method", "decode"]):
        assert main.main(["view", str(made.directory), *more]) == 0
    assert shown == ["encode.onnx", "decode.onnx"]
    assert capsys.readouterr().err.splitlines() == ["lightning-onnx view: this is encode; --method shows decode"]
