"""Two processes on the CPU, started as users start them: a script with ``strategy="ddp"``."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lightning_onnx import ONNXArtifact

SCRIPT = """
import os, sys, warnings
warnings.simplefilter("ignore")
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_onnx import ONNXExport
from tests import models

torch.set_num_threads(1)
torch.manual_seed(0)
module = getattr(models, sys.argv[2])()
callback = ONNXExport()
trainer = Trainer(max_epochs=1, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_progress_bar=False,
                  enable_model_summary=False, default_root_dir=sys.argv[1],
                  callbacks=[callback, ModelCheckpoint(monitor="val_loss")])
try:
    trainer.fit(module, module.batches(), module.batches())
except Exception as error:
    print(f"rank {trainer.global_rank} raised {type(error).__name__}: {str(error)[:40]}", flush=True)
    os._exit(3)
hook = "forward" in module.__dict__ and hasattr(getattr(module.__dict__["forward"], "__func__", None), "observers")
print(f"rank {trainer.global_rank} failures {callback.failures} hook {hook}", flush=True)
"""


def launch(tmp_path: Path, module: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT))
    root = Path(__file__).parent.parent
    command = [sys.executable, str(script), str(tmp_path), module]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=root, env=_environment(root))


def _environment(root: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(root), "MASTER_ADDR": "127.0.0.1"}


@pytest.mark.slow
def test_two_ranks_write_one_artifact(tmp_path: Path) -> None:
    done = launch(tmp_path, "Classifier")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rank 0 failures [] hook False" in done.stdout
    assert "rank 1 failures [] hook False" in done.stdout
    (directory,) = (tmp_path / "onnx").iterdir()
    artifact = ONNXArtifact.load(directory)
    assert artifact.proven
    assert artifact.manifest["source"]["weights"] == "best"


@pytest.mark.slow
def test_a_failure_on_rank_zero_reaches_all_and_nobody_waits(tmp_path: Path) -> None:
    done = launch(tmp_path, "CannotExport")
    assert done.returncode != 0
    assert "rank 0 raised EngineError" in done.stdout
    assert not (tmp_path / "onnx").exists() or not list((tmp_path / "onnx").iterdir())
