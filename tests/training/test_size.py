"""A module with 2.5 GB of weights: external data, complete, and not twice in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_onnx import ONNXArtifact, ONNXExport

torch.set_num_threads(2)


class Large(LightningModule):
    def __init__(self, layers=10, width=8000):
        super().__init__()
        with torch.no_grad():
            self.layers = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(layers)))
        self.layers[1:].requires_grad_(False)  # the memory of the training itself does not matter here

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch):
        return self(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=1e-4)


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


root, when, exports = sys.argv[1], sys.argv[2], sys.argv[3] == "yes"
module = Large()
weights = sum(p.nbytes for p in module.parameters())
callback = ONNXExport(root + "/onnx", when=when)
callbacks = [ModelCheckpoint(root + "/ck", save_weights_only=True)] if when == "checkpoint" else []
trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
                  enable_checkpointing=bool(callbacks), default_root_dir=root,
                  callbacks=[*callbacks, *([callback] if exports else [])])
trainer.fit(module, torch.utils.data.DataLoader(torch.randn(4, 8000), batch_size=2))
found = {"peak": peak(), "weights": weights}
if exports:
    assert callback.failures == [], callback.failures
    artifact = ONNXArtifact.load(callback.artifact.directory)
    found |= {"files": sorted(artifact.manifest["files"]), "proven": artifact.proven,
              "reason": artifact.manifest["checks"][0]["reason"], "path": str(artifact.model_path)}
print("RESULT", json.dumps(found))
"""


def run(root: Path, when: str, exports: bool) -> dict[str, object]:
    script = root / "large.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(root), when, "yes" if exports else "no"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout.split("RESULT ")[1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("when", ["checkpoint", "fit_end"])
def test_large_module(when: str, tmp_path: Path) -> None:
    import onnx

    base = tmp_path / "base"
    base.mkdir()
    without, found = run(base, when, exports=False), run(tmp_path, when, exports=True)
    assert found["weights"] > 2.5e9  # type: ignore[operator]
    assert {"model.onnx", "model.onnx.data"} <= set(found["files"])  # type: ignore[arg-type]
    assert found["proven"], found["reason"]
    onnx.checker.check_model(str(found["path"]))
    beyond = (found["peak"] - without["peak"]) / found["weights"]  # type: ignore[operator]
    print(f"{when}: peak beyond training {beyond:.2f} x the weights")
    assert beyond <= 1.5
