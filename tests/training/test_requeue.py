"""SLURM ends a job, which Lightning requeues: the run goes on in the next job, and its artifact is right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from lightning_onnx import ONNXArtifact
from tests import models

SCRIPT = """
import os, signal, sys
from pathlib import Path
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning_onnx import ONNXExport
from tests import models

root = Path(sys.argv[1])


class Module(models.Classifier):
    def on_train_start(self):
        print("starts at step", self.global_step)

    def on_train_batch_start(self, batch, batch_idx):
        if self.current_epoch == 1 and not (root / "asked").exists():
            os.kill(os.getpid(), signal.SIGUSR1)  # SLURM, shortly before the job's time is over


callback = ONNXExport(when="checkpoint", background=False)
checkpoint = ModelCheckpoint(root / "ck", monitor="val_loss")
trainer = Trainer(max_epochs=3, accelerator="cpu", devices=1, logger=False, default_root_dir=root,
                  plugins=[SLURMEnvironment(auto_requeue=True)], callbacks=[callback, checkpoint],
                  enable_progress_bar=False, enable_model_summary=False)
module = Module()
trainer.fit(module, module.batches(), module.batches())
assert callback.failures == [], callback.failures
print("finished at step", trainer.global_step, "with the best of", checkpoint.best_model_path)
"""

SCONTROL = """#!/bin/sh
echo "$@" > "{root}/asked"
kill -TERM $PPID
"""
"""It ends the job that asks, and the test starts the next one."""


@pytest.mark.slow
def test_a_requeued_job_goes_on_and_has_one_right_artifact(tmp_path: Path) -> None:
    script, scontrol, root = tmp_path / "train.py", tmp_path / "bin" / "scontrol", Path(__file__).parents[2]
    scontrol.parent.mkdir()
    scontrol.write_text(SCONTROL.format(root=tmp_path))
    scontrol.chmod(0o755)
    script.write_text(SCRIPT)
    job = {"NTASKS": "1", "JOB_ID": "4711", "JOB_NAME": "train", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    environment = {
        **os.environ,
        **{f"SLURM_{key}": value for key, value in job.items()},
        "PATH": os.pathsep.join([str(scontrol.parent), os.environ["PATH"]]),
        "PYTHONPATH": str(root),
    }
    command = [sys.executable, str(script), str(tmp_path)]
    first, second = (
        subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        for _ in range(2)
    )
    assert "finished" not in first.stdout
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
    assert second.returncode == 0, second.stderr
    steps = len(models.Classifier().batches())
    assert f"starts at step {steps}\n" in second.stdout
    assert f"finished at step {3 * steps}" in second.stdout

    (checkpoint,) = (tmp_path / "ck").glob("*.ckpt")
    (folder,) = (path for path in (tmp_path / "onnx").iterdir() if path.is_dir())
    artifact = ONNXArtifact.load(folder)
    assert artifact.passed
    assert artifact.manifest["source"]["checkpoint"] == checkpoint.name
    module = models.Classifier().eval()
    module.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    (output,) = onnxruntime.InferenceSession(artifact.model_path).run(None, {artifact.signature.inputs[0].name: x})
    np.testing.assert_allclose(output, module(torch.from_numpy(x)).detach().numpy(), atol=1e-5)
