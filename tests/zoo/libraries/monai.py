"""MONAI: networks for volumes, MetaTensor batches of its own datasets, and sliding windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from tests.zoo.case import Case, Lit, LitXY, first, images, whole
from tests.zoo.isolated.library import Library
from tests.zoo.run import trainer

VOLUMES = ((1, 16, 16, 16), (1, 32, 24, 32), (1, 24, 32, 16))
LOOP = "its loop over the windows of all volumes is one of Python, which every engine unrolls at the traced size"
UNET = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": (4, 8, 12),
    "strides": (2, 2),
    "num_res_units": 1,
}


def _network(name: str, **options: Any) -> pl.LightningModule:
    from monai.networks import nets

    return LitXY(getattr(nets, name)(**options))


class Segmenter(Lit):
    """The module of MONAI's tutorial on Lightning: dict batches, DiceLoss, validation by sliding windows."""

    def __init__(self) -> None:
        super().__init__()
        from monai.losses import DiceLoss
        from monai.networks import nets

        self.net, self.loss = nets.UNet(**UNET), DiceLoss(to_onehot_y=True, softmax=True)

    def forward(self, x):
        return self.net(x)

    def step(self, batch: Any) -> Tensor:
        return self.loss(self(batch["image"]), batch["label"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        from monai.inferers import sliding_window_inference

        windows = sliding_window_inference(batch["image"], (16, 16, 16), 2, self.forward)
        self.log("val_loss", self.loss(windows, batch["label"]), batch_size=1)


class Windows(Segmenter):
    """The sliding windows are part of forward, which is called with whole volumes only."""

    def forward(self, x):
        from monai.inferers import SlidingWindowInferer

        return SlidingWindowInferer((16, 16, 16), 2, overlap=0.25)(x, self.net)

    def step(self, batch: Any) -> Tensor:
        return self.loss(self.net(batch["image"]), batch["label"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(self(batch["image"]), batch["label"]), batch_size=1)


def _fit(module: type[Segmenter]) -> Any:
    """Train with a dataset of dicts, random crops and the collation of MONAI, whose tensors are MetaTensors."""

    def fit(callback: pl.Callback, directory: Path) -> pl.LightningModule:
        from monai.data import CacheDataset, DataLoader, MetaTensor, list_data_collate
        from monai.transforms import Compose, EnsureTyped, RandCropByPosNegLabeld, ScaleIntensityRanged

        def items(count: int) -> list[dict[str, Any]]:
            return [
                {"image": MetaTensor(torch.rand(1, 24, 24, 24)), "label": MetaTensor(torch.rand(1, 24, 24, 24) > 0.5)}
                for _ in range(count)
            ]

        scale = ScaleIntensityRanged("image", a_min=0.0, a_max=1.0, b_min=-1.0, b_max=1.0)
        crop = RandCropByPosNegLabeld(["image", "label"], "label", (16, 16, 16), num_samples=2)
        training = CacheDataset(items(6), Compose([scale, crop, EnsureTyped(["image", "label"])]), progress=False)
        validation = CacheDataset(items(4), Compose([scale]), progress=False)
        lit = module()
        trainer(callback, directory).fit(
            lit,
            DataLoader(training, batch_size=2, shuffle=True, collate_fn=list_data_collate),
            DataLoader(validation, batch_size=2),
        )
        return lit

    return fit


def _segresnet() -> pl.LightningModule:
    return _network("SegResNet", init_filters=8, out_channels=2, blocks_down=(1, 1), blocks_up=(1,))


def _swin_unetr() -> pl.LightningModule:
    sizes = {"feature_size": 12, "depths": (1, 1, 1, 1), "num_heads": (2, 2, 2, 2)}
    return _network("SwinUNETR", spatial_dims=2, in_channels=1, out_channels=2, **sizes)


def _crops(size: int, variant: int) -> Tensor:
    return torch.rand(size, 1, 16, 16, 16)


def _volumes(size: int, variant: int) -> Tensor:
    return torch.rand(2, 1, 24, 24, (24, 24, 32)[variant])


LIBRARY = Library(
    "monai",
    cases=(
        Case("monai/unet", lambda: _network("UNet", **UNET), images(*VOLUMES), first, True),
        Case("monai/segresnet", _segresnet, images(*VOLUMES), first, True),
        Case("monai/swin_unetr", _swin_unetr, images((1, 64, 64)), first),
        Case("monai/metatensor", None, _crops, whole, fit=_fit(Segmenter)),
        Case("monai/sliding_window", None, _volumes, whole, True, batched=False, fit=_fit(Windows), limit=LOOP),
    ),
)
