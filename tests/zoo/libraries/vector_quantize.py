"""vector-quantize-pytorch: autoencoders with each of its quantizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.case import Case, Lit, first
from tests.zoo.isolated.library import Library

SIZES = ((16, 16), (24, 20), (20, 28))


class Autoencoder(Lit):
    """The library's example: a small convolutional autoencoder with a quantizer between its halves."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        import vector_quantize_pytorch

        width = options.pop("width", 8)
        self.encoder = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.GELU(), nn.Conv2d(width, width, 3, 2, 1))
        self.quantizer = getattr(vector_quantize_pytorch, kind)(**options)
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, 1, 1), nn.GELU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(width, 1, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x):
        hidden = self.encoder(x)
        tokens = hidden.flatten(2).transpose(1, 2)
        quantized, indices, *rest = self.quantizer(tokens)
        image = self.decoder(quantized.transpose(1, 2).reshape(hidden.shape)).clamp(-1, 1)
        return image, indices, *rest

    def step(self, batch: Any) -> Tensor:
        image, _, *losses = self(batch[0])
        return F.l1_loss(image, batch[0]) + sum(loss.sum() for loss in losses)


def _batch(size: int, variant: int) -> Any:
    return torch.randn(size, 1, *SIZES[variant]), torch.zeros(size)


def _case(name: str, kind: str, **options: Any) -> Case:
    return Case(f"vector_quantize/{name}", lambda: Autoencoder(kind, **options), _batch, first, True)


LIBRARY = Library(
    "vector-quantize-pytorch",
    cases=(
        _case("vq", "VectorQuantize", dim=8, codebook_size=16, decay=0.8, commitment_weight=1.0),
        _case("vq_cosine", "VectorQuantize", dim=8, codebook_size=16, use_cosine_sim=True),
        _case("residual_vq", "ResidualVQ", dim=8, num_quantizers=2, codebook_size=16),
        _case("fsq", "FSQ", levels=[5, 4, 3], width=3),
        _case("lfq", "LFQ", codebook_size=16, dim=8),
    ),
)
