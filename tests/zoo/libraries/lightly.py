"""lightly: self-supervised training with two views of each image; the graph is the module's own forward."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Lit
from tests.zoo.isolated.library import Library


def _backbone() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


class SimCLR(Lit):
    """Lightly's quickstart: a backbone, a projection head, and the NT-Xent loss on two views."""

    def __init__(self) -> None:
        super().__init__()
        from lightly import loss
        from lightly.models.modules import heads

        self.backbone, self.head = _backbone(), heads.SimCLRProjectionHead(8, 16, 4)
        self.criterion = loss.NTXentLoss(temperature=0.5)

    def forward(self, x):
        return self.head(self.backbone(x))

    def step(self, batch: Any) -> Tensor:
        (first, second), _ = batch
        return self.criterion(self(first), self(second))


class BYOL(Lit):
    """A momentum encoder beside the one that is trained."""

    def __init__(self) -> None:
        super().__init__()
        from lightly import loss
        from lightly.models import utils
        from lightly.models.modules import heads

        self.backbone, self.projection = _backbone(), heads.BYOLProjectionHead(8, 16, 4)
        self.prediction = heads.BYOLPredictionHead(4, 16, 4)
        self.momentum_backbone = copy.deepcopy(self.backbone)
        self.momentum_projection = copy.deepcopy(self.projection)
        utils.deactivate_requires_grad(self.momentum_backbone)
        utils.deactivate_requires_grad(self.momentum_projection)
        self.criterion = loss.NegativeCosineSimilarity()

    def forward(self, x):
        return self.prediction(self.projection(self.backbone(x)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        from lightly.models.utils import update_momentum

        update_momentum(self.backbone, self.momentum_backbone, m=0.99)
        update_momentum(self.projection, self.momentum_projection, m=0.99)
        return super().training_step(batch, batch_idx)

    def step(self, batch: Any) -> Tensor:
        (first, second), _ = batch
        targets = [self.momentum_projection(self.momentum_backbone(view)).detach() for view in (second, first)]
        return 0.5 * (self.criterion(self(first), targets[0]) + self.criterion(self(second), targets[1]))


class MAE(Lit):
    """A masked autoencoder on a transformer of timm; forward encodes whole images."""

    def __init__(self) -> None:
        super().__init__()
        from lightly.models.modules import MaskedVisionTransformerTIMM
        from timm.models.vision_transformer import VisionTransformer

        vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=0)
        self.backbone = MaskedVisionTransformerTIMM(vit=vit)
        self.decoder = nn.Linear(16, 8 * 8 * 3)

    def forward(self, x):
        return self.backbone(images=x)

    def step(self, batch: Any) -> Tensor:
        from lightly.models import utils

        images = batch[0][0]
        keep, masked = utils.random_token_mask(size=(len(images), self.backbone.sequence_length), mask_ratio=0.75)
        encoded = self.backbone.encode(images=images, idx_keep=keep)
        patches = utils.get_at_index(utils.patchify(images, 8), masked - 1)
        return (self.decoder(encoded).mean(1, keepdim=True) - patches).square().mean() + 0 * self(images).mean()


def _views(size: int, variant: int) -> Any:
    return [torch.randn(size, 3, 32, 32), torch.randn(size, 3, 32, 32)], torch.zeros(size)


def _first_view(batch: Any) -> Any:
    return (batch[0][0],), {}


LIBRARY = Library(
    "lightly",
    cases=(
        Case("lightly/simclr", SimCLR, _views, _first_view),
        Case("lightly/byol", BYOL, _views, _first_view),
        Case("lightly/mae", MAE, _views, _first_view),
    ),
)
