"""torchvision: classifiers, segmentation and detectors after training."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

from tests.zoo.case import Case, LitXY, first, images
from tests.zoo.isolated.library import Library


def _classifier() -> pl.LightningModule:
    from torchvision import models

    return LitXY(models.mobilenet_v3_small(weights=None, num_classes=4))


class _Segmenter(LitXY):
    """Returns a dict, as torchvision's segmentation models do."""

    def step(self, batch: Any) -> torch.Tensor:
        return self(batch[0])["out"].square().mean()


def _segmenter() -> pl.LightningModule:
    from torchvision.models import segmentation

    return _Segmenter(segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3))


LIBRARY = Library(
    "torchvision",
    cases=(
        Case("torchvision/mobilenet_v3_small", _classifier, images((3, 64, 64)), first),
        Case(
            "torchvision/lraspp_mobilenet_v3_large",
            _segmenter,
            images((3, 64, 64), (3, 96, 128), (3, 128, 96)),
            first,
            True,
        ),
    ),
)
