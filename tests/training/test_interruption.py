"""Ctrl-C and SIGTERM end a run while a runtime hangs: long before the time limit of its answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import assert_ends
from tests.runtimes import faulty

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, time
from pathlib import Path
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_onnx import ONNXExport
from lightning_onnx.runtimes import base
from tests import models

base.RUNTIMES["onnxruntime"] = "tests.runtimes.faulty:Faulty"
root, moment = Path(sys.argv[1]), sys.argv[2]


class Module(models.Classifier):
    def on_train_batch_start(self, batch, batch_idx):
        if self.current_epoch == 1:
            (root / "fault").write_text("hang")
        if self.current_epoch == 2 and moment == "in the background":
            print("training goes on", flush=True)
            time.sleep(0.5)


when = "checkpoint" if moment == "in the background" else "fit_end"
callback = ONNXExport(root / "onnx", when=when, on_exception=True)
checkpoint = ModelCheckpoint(root / "ck", monitor="val_loss", save_top_k=-1)
trainer = Trainer(max_epochs=2 if moment == "at the end" else 1000, accelerator="cpu", logger=False,
                  enable_progress_bar=False, enable_model_summary=False, callbacks=[callback, checkpoint])
module = Module()
try:
    trainer.fit(module, module.batches(), module.batches())
finally:
    (root / "failures").write_text("\\n".join(callback.failures))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["before training", "in the background", "at the end"])
def test_an_interrupt_ends_the_run_while_a_runtime_hangs(moment: str, number: signal.Signals, tmp_path: Path) -> None:
    script, fault, started = tmp_path / "train.py", tmp_path / "fault", tmp_path / "started"
    script.write_text(SCRIPT)
    if moment == "before training":
        fault.write_text("hang")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), faulty.VARIABLE: str(fault), faulty.STARTED: str(started)}
    command = [sys.executable, str(script), str(tmp_path), moment]
    run = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for _ in range(1200):
            if started.exists() or run.poll() is not None:
                break
            time.sleep(0.1)
        assert started.exists(), run.communicate()[0].decode()
        os.kill(run.pid, number)
        output = run.communicate(timeout=60)[0].decode()  # the limit of an answer is 600 s
    finally:
        run.kill()
    if moment == "at the end" and number == signal.SIGTERM:
        assert run.returncode == -signal.SIGTERM  # Lightning no longer handles it then
    else:
        assert "interrupted during the export" in (tmp_path / "failures").read_text(), output
    assert_ends(int(started.read_text()))
