"""Nothing is imported that is not used: by the public names, and by the commands that only read files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch
from torch import nn

import lightning_onnx
from lightning_onnx import ONNXArtifact

TRAINING = ("torch", "lightning", "pytorch_lightning", "onnxscript", "matplotlib", "mlflow", "wandb", "tensorboard")
NEED_TORCH = {
    "ONNXCLI",
    "ExportCommand",
    "MetricParity",
    "ONNXExport",
    "Parity",
    "RuntimeParity",
    "TrackioLogger",
    "evaluate",
    "export",
}

RUN = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in set(sys.argv[1].split(",")):
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Blocked())
from lightning_onnx.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    torch.manual_seed(0)
    return lightning_onnx.export(nn.Linear(3, 2), torch.randn(2, 3), directory=tmp_path_factory.mktemp("made") / "a")


def run(*command: str, blocked: tuple[str, ...] = (), python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    package = str(Path(lightning_onnx.__file__).parents[1])
    return subprocess.run(
        [python, "-c", RUN, ",".join(blocked), *command],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_public_names_that_need_no_torch() -> None:
    names = sorted(set(lightning_onnx.__all__) - NEED_TORCH)
    code = (
        "import sys, lightning_onnx\n"
        f"for name in {names}:\n"
        "    getattr(lightning_onnx, name)\n"
        f"    found = {set(TRAINING) | {'onnxruntime'}} & set(sys.modules)\n"
        "    assert not found, (name, found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", "inspect", "check", "diff", "bench"])
def test_commands_that_read_a_file(command: str, artifact: ONNXArtifact, tmp_path: Path) -> None:
    rest = {"bench": ["--seconds", "0.02", "--plot", str(tmp_path / "a.svg")]}.get(command, [])
    path = [str(artifact.directory)] * {"--help": 0, "diff": 2}.get(command, 1)
    done = run(command, *path, *rest, blocked=TRAINING)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.slow
def test_a_command_that_needs_torch_is_detected(artifact: ONNXArtifact) -> None:
    done = run("export", "a.ckpt", "--model", "a:B", blocked=TRAINING)
    assert done.returncode != 0
    assert "is not installed" in done.stderr


@pytest.mark.slow
def test_an_environment_with_onnx_and_numpy_reads_artifacts(artifact: ONNXArtifact, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = str(tmp_path / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    subprocess.run([python, "-m", "pip", "install", "--quiet", "onnx", "numpy"], check=True)
    code = (
        "import sys, lightning_onnx\n"
        "artifact = lightning_onnx.ONNXArtifact.load(sys.argv[1])\n"
        "print(artifact.passed, artifact.model_path.name)\n"
        "print(artifact.report.text())"
    )
    package = str(Path(lightning_onnx.__file__).parents[1])
    loaded = subprocess.run(
        [python, "-c", code, str(artifact.directory)],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout.startswith("True model.onnx\nSafe to deploy: 1 of 1 check passed"), loaded.stderr
    inspected = run("inspect", str(artifact.directory), "--json", python=python)
    assert json.loads(inspected.stdout)["operators"] == {"Gemm": 1}, inspected.stderr
    checked = run("check", str(artifact.directory), python=python)
    assert checked.returncode == 3
    assert "onnxruntime" in checked.stdout
