"""torchgeo: its tasks, which are LightningModules, on batches with more bands than images have colors."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

from tests.zoo.case import Arguments, Case
from tests.zoo.isolated.library import Library

BANDS, CLASSES = 4, 3
SIZES = ((64, 64), (96, 128), (128, 96))


def _scenes(size: int, variant: int) -> Any:
    return {"image": torch.randn(size, BANDS, *SIZES[variant]), "label": torch.randint(0, CLASSES, (size,))}


def _masked(size: int, variant: int) -> Any:
    sides = SIZES[variant]
    return {"image": torch.randn(size, BANDS, *sides), "mask": torch.randint(0, CLASSES, (size, *sides))}


def _pairs(size: int, variant: int) -> Any:
    """Return two images of each place, and where it changed."""
    sides = SIZES[variant]
    return {"image": torch.randn(size, 2, BANDS, *sides), "mask": torch.randint(0, 2, (size, 1, *sides))}


def _image(batch: Any) -> Arguments:
    return (batch["image"],), {}


def _task(name: str, **options: Any) -> pl.LightningModule:
    from torchgeo import trainers

    return getattr(trainers, name)(in_channels=BANDS, **options)


def _classification() -> pl.LightningModule:
    return _task("ClassificationTask", model="resnet18", num_classes=CLASSES)


def _segmentation() -> pl.LightningModule:
    return _task("SemanticSegmentationTask", model="unet", backbone="resnet18", num_classes=CLASSES)


def _change() -> pl.LightningModule:
    return _task("ChangeDetectionTask", model="fcsiamdiff", backbone="resnet18")


LIBRARY = Library(
    "torchgeo",
    cases=(
        Case("torchgeo/classification", _classification, _scenes, _image, True),
        Case("torchgeo/segmentation", _segmentation, _masked, _image, True),
        Case("torchgeo/change", _change, _pairs, _image, True),
    ),
)
