"""From PNG files to class names: preprocessing and postprocessing are part of the ONNX file.

Digits are saved as PNG files of several sizes; a network is trained on them with a torchvision pipeline. Then a process
without torch opens the files with Pillow, gives raw uint8 pixels to the ONNX file, and gets class names.

Run ``make image``, or ``python examples/image_to_answer.py --help``.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from lightning_onnx import ONNXExport

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

# What happens to pixels, in training and in the graph: images of any size become float32 images of 16 x 16.
PIXELS = [v2.ToDtype(torch.float32, scale=True), v2.Resize([16, 16], antialias=True), v2.Normalize([0.3], [0.35])]


class ChannelsFirst(torch.nn.Module):
    """Turns images as Pillow and numpy have them [batch, height, width, 1] into torch's [batch, 1, height, width]."""

    def forward(self, images):
        """Return the images with channels first."""
        return images.permute(0, 3, 1, 2)


def answer(logits):
    """Return the probability of each class, and the index of the best one."""
    probabilities = logits.softmax(1)
    return {"probabilities": probabilities, "label": probabilities.argmax(1)}


class Digits(LightningModule):
    """A small network on prepared images."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1),
            torch.nn.BatchNorm2d(16),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(16, 32, 3, padding=1),
            torch.nn.BatchNorm2d(32),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(512, 10),
        )

    def forward(self, images):
        """Map prepared images [batch, 1, 16, 16] to logits [batch, 10]."""
        return self.net(images)

    def training_step(self, batch):
        """Return the loss."""
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch):
        """Log the metric that selects the best checkpoint."""
        images, labels = batch
        self.log("val_loss", F.cross_entropy(self(images), labels))

    def test_step(self, batch):
        """Log the share of right answers."""
        images, labels = batch
        self.log("test_acc", (self(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self):
        """Use Adam."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def save_images(root):
    """Save scikit-learn's digits as PNG files of several sizes, in a folder for each class."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images, labels, test_size=0.2, random_state=0)
    sizes = np.random.default_rng(0)
    for part, pixels, classes in zip(("train", "test"), parts[:2], parts[2:], strict=True):
        for number, (values, label) in enumerate(zip(pixels, classes, strict=True)):
            folder = root / part / f"{label}_{NAMES[label]}"
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray((values.reshape(8, 8) * 15.9).astype(np.uint8))
            width, height = (int(size) for size in sizes.integers(16, 49, 2))
            image.resize((width, height), Image.Resampling.BILINEAR).save(folder / f"{number:04}.png")


def loader(folder, shuffle=False):
    """Return the batches of a folder of images."""
    transform = v2.Compose([v2.Grayscale(), v2.PILToTensor(), *PIXELS])
    return DataLoader(ImageFolder(folder, transform), batch_size=64, shuffle=shuffle)


def main():
    """Train, export, and let a process without torch name the digits of the test images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--root", type=Path, default=Path("image_to_answer"))
    arguments = parser.parse_args()
    seed_everything(0)
    save_images(arguments.root / "images")
    train, test = loader(arguments.root / "images/train", shuffle=True), loader(arguments.root / "images/test")

    callback = ONNXExport(
        preprocess=torch.nn.Sequential(ChannelsFirst(), *PIXELS),
        postprocess=answer,
        sample=torch.randint(0, 256, (2, 33, 27, 1), dtype=torch.uint8),
        input_names=["images"],
        labels=NAMES,
    )
    trainer = Trainer(
        max_epochs=arguments.epochs,
        accelerator="cpu",
        logger=CSVLogger(arguments.root, name="logs"),
        callbacks=[callback, ModelCheckpoint(monitor="val_loss")],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Digits(), train, test)
    (tested,) = trainer.test(dataloaders=test, ckpt_path="best", verbose=False)
    assert callback.artifact is not None, callback.failures
    print(callback.artifact.signature)
    print(f"trainer.test: {tested['test_acc']:.4f} of the images are named rightly")
    reader = Path(__file__).with_name("name_images.py")
    command = [sys.executable, reader, callback.artifact.model_path, arguments.root / "images/test"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
