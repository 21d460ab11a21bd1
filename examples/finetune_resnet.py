"""Fine-tune torchvision's resnet18 on scikit-learn's handwritten digits; the export only needs ``ONNXExport()``.

Run ``make demo``, or ``python examples/finetune_resnet.py --help``.
"""

import argparse
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import ONNXExport


class DigitClassifier(LightningModule):
    """A resnet18 with ten classes; image preprocessing is part of ``forward``, and therefore of the ONNX graph."""

    def __init__(self, weights: str | None = None) -> None:
        """Make the network with torchvision's pretrained ``weights``, by name, or with random ones."""
        super().__init__()
        self.save_hyperparameters()
        self.resnet = torchvision.models.resnet18(weights=weights)
        self.resnet.fc = torch.nn.Linear(self.resnet.fc.in_features, 10)

    def forward(self, images):
        """Map images [batch, 8, 8] of values from 0 to 16 to logits [batch, 10]."""
        gray = F.interpolate(images[:, None] / 8 - 1, size=(32, 32), mode="bilinear")
        return self.resnet(gray.expand(-1, 3, -1, -1))

    def training_step(self, batch):
        """Return the loss of a batch."""
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch):
        """Log the accuracy on a batch."""
        images, labels = batch
        self.log("val_acc", (self(images).argmax(-1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self):
        """Use Adam; the learning rate decreases to zero during training."""
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-3)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def split_digits():
    """Return train, validation and test digits, each as images and labels; the split is the same in every run."""
    images, labels = load_digits().images.astype(np.float32), load_digits().target
    images, test_images, labels, test_labels = train_test_split(images, labels, test_size=360, random_state=0)
    train_images, val_images, train_labels, val_labels = train_test_split(images, labels, test_size=200, random_state=0)
    return (train_images, train_labels), (val_images, val_labels), (test_images, test_labels)


def loader(images, labels, shuffle=False):
    """Serve digits in batches of 64."""
    return DataLoader(TensorDataset(torch.from_numpy(images), torch.from_numpy(labels)), batch_size=64, shuffle=shuffle)


def main() -> int:
    """Train, and compare the artifact with the module on digits used neither for training nor for validation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", help="torchvision's pretrained weights, such as IMAGENET1K_V1; default: random")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where everything goes; default: ./runs")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", ".*does not have many workers.*")  # the digits are in memory
    seed_everything(0)
    print(f"resnet18 with {options.weights or 'random'} weights, {options.epochs} epochs")

    train, val, test = split_digits()
    checkpoint = ModelCheckpoint(monitor="val_acc", mode="max")
    callback = ONNXExport()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=options.epochs,
        log_every_n_steps=5,
        logger=[TensorBoardLogger(options.root, name="tensorboard"), CSVLogger(options.root, name="csv")],
        callbacks=[checkpoint, callback],
    )
    trainer.fit(DigitClassifier(options.weights), loader(*train, shuffle=True), loader(*val))
    if callback.artifact is None:
        return 1

    module = DigitClassifier.load_from_checkpoint(checkpoint.best_model_path).eval()
    with torch.inference_mode():
        module_digits = module(torch.from_numpy(test[0])).argmax(-1).numpy()
    artifact_digits = classify_without_torch(callback.artifact.model_path, test[0], options.root)
    module_right, artifact_right = (int((digits == test[1]).sum()) for digits in (module_digits, artifact_digits))

    print(f"\n{callback.artifact.report.text()}\n")
    print(f"Held-out digits ({len(test[1])}, neither trained nor validated on)")
    print(f"  module, best checkpoint  {module_right} right  {module_right / len(test[1]):.2%}")
    print(f"  artifact, onnxruntime    {artifact_right} right  {artifact_right / len(test[1]):.2%}")
    print("\nWhere everything is")
    print(f"  artifact           {callback.artifact.directory}")
    print(f"  checkpoint         {checkpoint.best_model_path}")
    for logger in trainer.loggers:
        print(f"  {type(logger).__name__:<18} {logger.log_dir}")
    print(f"  in a browser       tensorboard --logdir {options.root}")
    return int(abs(module_right - artifact_right) > 1 or not callback.artifact.passed)


def classify_without_torch(model: Path, images: np.ndarray, root: Path) -> np.ndarray:
    """Classify digits with the artifact, in a process with onnxruntime but without torch."""
    given, found = root / "held_out.npy", root / "classified.npy"
    np.save(given, images)
    script = Path(__file__).with_name("classify_digits.py")
    subprocess.run([sys.executable, script, model, given, found], check=True)
    return np.load(found)


if __name__ == "__main__":
    sys.exit(main())
