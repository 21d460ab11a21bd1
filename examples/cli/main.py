"""LightningCLI: module, data, callback, checks and variants are configured in a file or on the command line.

Usage, in this directory (``pip install "lightning-onnx[examples,variants]"``):

    python main.py fit --config config.yaml
    python main.py fit --config config.yaml --model.hidden=128 --trainer.max_epochs=8
    python main.py fit --trainer.max_epochs=4 --trainer.callbacks+=lightning_onnx.ONNXExport \
        --trainer.callbacks.opset_version=18 --trainer.callbacks.output_names='[logits]'
    python main.py export --config config.yaml --ckpt_path best   # the best checkpoint of the newest run
    python main.py fit --config config.yaml --print_config      # what would run, as a file
    python main.py fit --trainer.callbacks.help=lightning_onnx.ONNXExport
"""

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_onnx import ONNXCLI


class Digits(LightningModule):
    """Two layers on images of 8 x 8 pixels.

    Args:
        hidden: Width of the layer between.
        lr: Learning rate of Adam.
    """

    def __init__(self, hidden: int = 64, lr: float = 3e-3):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))

    def forward(self, images):
        """Return the logits of the ten digits."""
        return self.net(images / 16)

    def training_step(self, batch):
        """Return the loss."""
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch):
        """Log the metric that selects the best checkpoint and limits the variants."""
        images, labels = batch
        logits = self(images)
        self.log("val_loss", F.cross_entropy(logits, labels), prog_bar=True)
        self.log("val_acc", (logits.argmax(-1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        """Use Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


class DigitImages(LightningDataModule):
    """scikit-learn's 1,797 handwritten digits.

    Args:
        batch_size: Images in a batch.
    """

    def __init__(self, batch_size: int = 64):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str):
        """Split them: 1,437 to train, 360 to validate."""
        images, labels = load_digits(return_X_y=True)
        dataset = TensorDataset(torch.tensor(images, dtype=torch.float32), torch.tensor(labels))
        self.train, self.val = random_split(dataset, [1437, 360], torch.Generator().manual_seed(0))

    def train_dataloader(self):
        """Serve the digits to train."""
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self):
        """Serve the digits to validate."""
        return DataLoader(self.val, self.batch_size)


if __name__ == "__main__":
    ONNXCLI(Digits, DigitImages, seed_everything_default=0)
