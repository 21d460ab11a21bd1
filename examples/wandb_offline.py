"""Train on handwritten digits with Weights & Biases offline: no account, no network.

Usage: python examples/wandb_offline.py [directory]

`wandb sync <directory>/wandb/offline-run-*` uploads the run later, artifact and report included. From then on
`wandb.Api().artifact("<entity>/digits/onnx-<run id>:best").download()` gives the files to anybody.
"""

import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import ONNXExport


class DigitClassifier(LightningModule):
    """Two layers on images of 8 x 8 pixels."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

    def forward(self, images):
        """Return the logits of the ten digits."""
        return self.net(images / 16)

    def training_step(self, batch):
        """Log and return the loss."""
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch):
        """Log what the best checkpoint is chosen by."""
        images, labels = batch
        self.log("val_loss", F.cross_entropy(self(images), labels))

    def configure_optimizers(self):
        """Use Adam."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def digits():
    """Return loaders of scikit-learn's 1,797 digits: to train and to validate."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        torch.tensor(images, dtype=torch.float32), torch.tensor(labels), test_size=0.2, random_state=0
    )
    train_x, val_x, train_y, val_y = parts
    return (
        DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True),
        DataLoader(TensorDataset(val_x, val_y), batch_size=64),
    )


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
