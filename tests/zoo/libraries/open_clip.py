"""open_clip: its contrastive training of an image and a text tower."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from tests.zoo.case import Case, Lit, spread
from tests.zoo.isolated.library import Library

VOCABULARY, TOKENS = 50, 12
TEXT = {"context_length": TOKENS, "vocab_size": VOCABULARY, "width": 32, "heads": 2, "layers": 2}
TOWERS = {
    "vit": {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2},
    "resnet": {"image_size": 32, "patch_size": None, "width": 8, "layers": [1, 1, 1, 1]},
}


class Contrastive(Lit):
    """Trains with the library's own loss."""

    def __init__(self, vision: dict[str, Any], network: str = "CLIP") -> None:
        super().__init__()
        import open_clip
        from open_clip import model

        extra = {"multimodal_cfg": TEXT} if network == "CoCa" else {}
        self.clip = getattr(open_clip if network == "CoCa" else model, network)(
            embed_dim=16, vision_cfg=vision, text_cfg=TEXT, **extra
        )
        self.loss = open_clip.ClipLoss()

    def forward(self, image, text):
        image_features, text_features, scale = self.clip(image, text)
        return image_features, text_features, scale

    def step(self, batch: Any) -> Tensor:
        return self.loss(*self(*batch))


class ImageEncoder(Contrastive):
    """Exports the tower that users deploy."""

    def forward(self, image):
        return self.clip.encode_image(image, normalize=True)

    def step(self, batch: Any) -> Tensor:
        return self.loss(self(batch[0]), self.clip.encode_text(batch[1], normalize=True), self.clip.logit_scale.exp())


def _batch(size: int, variant: int) -> Any:
    return torch.randn(size, 3, 32, 32), torch.randint(1, VOCABULARY, (size, TOKENS))


def _case(name: str, module: type[pl.LightningModule], tower: str, **options: Any) -> Case:
    call = spread if module is Contrastive else lambda batch: ((batch[0],), {})
    return Case(f"open_clip/{name}", lambda: module(TOWERS[tower], **options), _batch, call)


LIBRARY = Library(
    "open-clip-torch",
    cases=(
        _case("clip_vit", Contrastive, "vit"),
        _case("clip_resnet", Contrastive, "resnet"),
        _case("image_encoder", ImageEncoder, "vit"),
    ),
)
