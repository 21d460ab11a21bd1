"""A resnet18 and a transformer on handwritten digits, as in a user's project; see ``test_whole.py``."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from lightning.pytorch import LightningDataModule, LightningModule
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Digits(LightningDataModule):
    """1,797 images of 8 by 8; every fifth is for validation."""

    def setup(self, stage: str) -> None:
        digits = load_digits()
        images, labels = torch.tensor(digits.images, dtype=torch.float32), torch.tensor(digits.target)
        held_out = torch.arange(len(labels)) % 5 == 0
        self.parts = [TensorDataset(images[part], labels[part]) for part in (~held_out, held_out)]

    def train_dataloader(self) -> Any:
        return DataLoader(self.parts[0], batch_size=64, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.parts[1], batch_size=64)


class Classifier(LightningModule):
    def training_step(self, batch: Any) -> torch.Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(-1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class ResNet(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.net = torchvision.models.resnet18(num_classes=10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        large = F.interpolate(images[:, None] / 8 - 1, size=(32, 32), mode="bilinear")
        return self.net(large.expand(-1, 3, -1, -1))


class Transformer(Classifier):
    """Each row of an image is a token."""

    def __init__(self, width: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(torch.randn(8, width) / 8)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(8 * width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(images / 8 - 1) + self.place).flatten(1))
