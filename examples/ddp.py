"""Two processes train one module with DDP on the CPU; rank zero writes one artifact.

Run ``python examples/ddp.py``. Lightning starts this file again for the second process, which is why all that it does
stands below the line that asks for ``__main__``.
"""

import argparse
from pathlib import Path

import torch
from digits import DigitClassifier, digits
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_onnx import ONNXArtifact, ONNXExport

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where everything goes; default: ./runs")
    root = parser.parse_args().root
    torch.set_num_threads(1)
    seed_everything(0)
    callback = ONNXExport(output_names=["logits"])
    trainer = Trainer(
        strategy="ddp",
        devices=2,
        accelerator="cpu",
        max_epochs=4,
        default_root_dir=root,
        callbacks=[ModelCheckpoint(monitor="val_loss"), callback],
        enable_progress_bar=False,
        log_every_n_steps=10,
    )
    trainer.fit(DigitClassifier(), *digits())

    print(f"rank {trainer.global_rank} of {trainer.world_size} has an artifact: {callback.artifact is not None}")
    if trainer.is_global_zero:
        below = callback.artifact.directory.parent
        found = [ONNXArtifact.load(path.parent) for path in below.glob("*/manifest.json")]
        print(f"{len(found)} below {below}, checks passed: {found[0].passed}\n{found[0].signature}")
