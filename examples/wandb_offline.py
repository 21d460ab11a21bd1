"""Train on handwritten digits with Weights & Biases offline: no account, no network.

Usage: python examples/wandb_offline.py [directory]

`wandb sync <directory>/wandb/offline-run-*` uploads the run later, artifact and report included. From then on
`wandb.Api().artifact("<entity>/digits/onnx-<run id>:best").download()` gives the files to anybody.
"""

import sys
from pathlib import Path

from digits import DigitClassifier, digits
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger

from lightning_onnx import ONNXExport

if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    root.mkdir(parents=True, exist_ok=True)
    seed_everything(0)
    logger = WandbLogger(project="digits", save_dir=root, offline=True)
    callback = ONNXExport(output_names=["logits"])
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=logger,
        callbacks=[ModelCheckpoint(monitor="val_loss"), callback],
        enable_progress_bar=False,
        log_every_n_steps=10,
    )
    trainer.fit(DigitClassifier(), *digits())
    logger.experiment.finish()
    print(callback.artifact.report.text())
    print(f"run {logger.version} below {root / 'wandb'}: artifact onnx-{logger.version}, aliases latest and best")
