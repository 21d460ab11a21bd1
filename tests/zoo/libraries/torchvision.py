"""torchvision: classifiers, segmentation, and a detector that is trained until its scores differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Lit, LitXY, first, images
from tests.zoo.isolated.library import Library
from tests.zoo.run import trainer

SIZES = ((3, 64, 64), (3, 96, 128), (3, 128, 96))


def _classifier() -> pl.LightningModule:
    from torchvision import models

    return LitXY(models.mobilenet_v3_small(weights=None, num_classes=4))


class _Segmenter(LitXY):
    """Returns a dict, as torchvision's segmentation models do."""

    def step(self, batch: Any) -> Tensor:
        return self(batch[0])["out"].square().mean()


def _segmenter() -> pl.LightningModule:
    from torchvision.models import segmentation

    return _Segmenter(segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3))


class Detector(Lit):
    """Finds bright squares; small, but with torchvision's own resizing, anchors, losses and suppression."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.detection import RetinaNet
        from torchvision.models.detection.anchor_utils import AnchorGenerator

        backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32),
            nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1),
        )  # fmt: skip
        backbone.out_channels = 32
        anchors = AnchorGenerator(sizes=((16, 24, 32),), aspect_ratios=((1.0,),))
        limits = {"min_size": 64, "max_size": 128, "topk_candidates": 30, "detections_per_img": 5}
        self.net = RetinaNet(backbone, num_classes=2, anchor_generator=anchors, **limits)

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return sum(self.net(*batch).values())

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=4e-3)


def _squares(size: int, variant: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return four images with one bright square each, and its box: a graph has as many images as it was traced with."""
    height, width = ((64, 64), (80, 96), (96, 80))[variant]
    images, targets = [], []
    for _ in range(4):
        side = int(torch.randint(14, 30, ()))
        top, left = int(torch.randint(0, height - side, ())), int(torch.randint(0, width - side, ()))
        image = 0.2 * torch.rand(3, height, width)
        image[:, top : top + side, left : left + side] += 0.7
        box = torch.tensor([[left, top, left + side, top + side]], dtype=torch.float32)
        images.append(image)
        targets.append({"boxes": box, "labels": torch.ones(1, dtype=torch.long)})
    return images, targets


def _fit_detector(callback: pl.Callback, directory: Path) -> pl.LightningModule:
    module = Detector()
    batches = [_squares(4, number % 2) for number in range(8)]
    training = torch.utils.data.DataLoader(batches, batch_size=None, shuffle=True)
    validation = torch.utils.data.DataLoader(batches[:2], batch_size=None)
    trainer(callback, directory, max_epochs=50).fit(module, training, validation)
    return module


LIBRARY = Library(
    "torchvision",
    cases=(
        Case("torchvision/mobilenet_v3_small", _classifier, images((3, 64, 64)), first),
        Case("torchvision/lraspp_mobilenet_v3_large", _segmenter, images(*SIZES), first, True),
        Case("torchvision/retinanet", None, _squares, first, True, batched=False, fit=_fit_detector),
    ),
)
