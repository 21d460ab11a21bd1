"""kornia: augmentations on the device, filters and geometry inside a module, and its own networks."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tests.zoo.case import Case, LitXY, any_loss, first, images
from tests.zoo.isolated.library import Library

CENTER = "the centre of its images is `float(width - 1) / 2`, and a float of a size is a constant (affwarp.py:69)"
SIZES = ((3, 32, 32), (3, 40, 48), (3, 56, 40))


class Augmented(LitXY):
    """Kornia's example with Lightning: augmentations after the transfer, while training."""

    def __init__(self) -> None:
        from kornia import augmentation

        super().__init__(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        )
        self.transform = nn.Sequential(
            augmentation.RandomHorizontalFlip(p=0.75),
            augmentation.RandomChannelShuffle(p=0.75),
            augmentation.RandomThinPlateSpline(p=0.75),
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return (self.transform(batch[0]), *batch[1:]) if self.trainer.training else batch


class Normalized(LitXY):
    """Preprocessing that belongs to the model: colours, blur and normalization."""

    def __init__(self) -> None:
        from kornia import augmentation, color, filters

        super().__init__(nn.Conv2d(1, 2, 3, padding=1))
        self.gray, self.blur = color.RgbToGrayscale(), filters.GaussianBlur2d((5, 5), (1.5, 1.5))
        self.normalize = augmentation.Normalize(mean=torch.tensor([0.4]), std=torch.tensor([0.2]))

    def forward(self, x):
        return self.net(self.normalize(self.blur(self.gray(x))))


class Edges(LitXY):
    """Differentiable edges."""

    def __init__(self) -> None:
        from kornia import filters

        super().__init__(nn.Conv2d(3, 3, 3, padding=1))
        self.sobel, self.laplacian = filters.Sobel(), filters.Laplacian(3)

    def forward(self, x):
        hidden = self.net(x)
        return self.sobel(hidden), self.laplacian(hidden)


class Aligned(LitXY):
    """A spatial transformer: predicts a rotation and warps by it."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 1)))

    def forward(self, x):
        from kornia.geometry import transform

        return transform.rotate(x, self.net(x)[:, 0])

    def step(self, batch: Any) -> Tensor:
        return any_loss(self(batch[0]))


def _hardnet() -> pl.LightningModule:
    from kornia import feature

    return LitXY(feature.HardNet(pretrained=False))


LIBRARY = Library(
    "kornia",
    cases=(
        Case("kornia/augmented", Augmented, images(*SIZES), first, True),
        Case("kornia/normalized", Normalized, images(*SIZES), first, True),
        Case("kornia/edges", Edges, images(*SIZES), first, True),
        Case("kornia/aligned", Aligned, images(*SIZES), first, True, limit=CENTER),
        Case("kornia/hardnet", _hardnet, images((1, 32, 32)), first),
    ),
)
