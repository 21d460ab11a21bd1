"""diffusers: denoisers and an autoencoder, trained as in the library's examples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.zoo.case import Arguments, Case, Lit, first
from tests.zoo.isolated.library import Library

SIZES = ((16, 16), (24, 32), (32, 24))


class Denoiser(Lit):
    """Predicts the noise that a scheduler has added."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        import diffusers

        self.net = getattr(diffusers, kind)(**options)
        self.scheduler = diffusers.DDPMScheduler(num_train_timesteps=100)

    def forward(self, sample, timestep, **conditions):
        return self.net(sample, timestep, **conditions).sample

    def step(self, batch: Any) -> Tensor:
        sample, timestep, conditions = batch
        noise = torch.randn_like(sample)
        noisy = self.scheduler.add_noise(sample, noise, timestep)
        return F.mse_loss(self(noisy, timestep, **conditions), noise)


class Autoencoder(Lit):
    """Gives the reconstruction and the moments of the latent distribution."""

    def __init__(self) -> None:
        super().__init__()
        import diffusers

        self.net = diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 16), layers_per_block=1, latent_channels=4, norm_num_groups=4,
        )  # fmt: skip

    def forward(self, x):
        latent = self.net.encode(x).latent_dist
        return self.net.decode(latent.mode()).sample, latent.mean, latent.logvar

    def step(self, batch: Any) -> Tensor:
        image, mean, logvar = self(batch[0])
        return F.mse_loss(image, batch[0]) + 1e-3 * (mean.square() + logvar.exp() - logvar).mean()


def _batch(channels: int, sizes: tuple[tuple[int, int], ...] = SIZES, **conditions: Any) -> Any:
    def batch(size: int, variant: int) -> Any:
        given = {name: make(size) for name, make in conditions.items()}
        return torch.randn(size, channels, *sizes[variant % len(sizes)]), torch.randint(0, 100, (size,)), given

    return batch


def _call(batch: Any) -> Arguments:
    return batch[:2], batch[2]


UNET = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}

DOWN = ("CrossAttnDownBlock2D", "DownBlock2D")
UP = ("UpBlock2D", "CrossAttnUpBlock2D")
ATTENTION = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
DIT = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "sample_size": 16, "patch_size": 4}


def _unet() -> Denoiser:
    return Denoiser("UNet2DModel", in_channels=3, out_channels=3, attention_head_dim=4, **ATTENTION, **UNET)


def _unet_text() -> Denoiser:
    blocks = {"down_block_types": DOWN, "up_block_types": UP}
    return Denoiser("UNet2DConditionModel", cross_attention_dim=12, attention_head_dim=2, **blocks, **UNET)


def _dit() -> Denoiser:
    return Denoiser("DiTTransformer2DModel", in_channels=4, norm_num_groups=4, num_embeds_ada_norm=100, **DIT)


def _text(size: int) -> Tensor:
    return torch.randn(size, 6, 12)


def _labels(size: int) -> Tensor:
    return torch.randint(0, 10, (size,))


LIBRARY = Library(
    "diffusers",
    cases=(
        Case("diffusers/unet", _unet, _batch(3), _call, True),
        Case("diffusers/unet_text", _unet_text, _batch(4, encoder_hidden_states=_text), _call, True),
        Case("diffusers/dit", _dit, _batch(4, ((16, 16),), class_labels=_labels), _call),
        Case("diffusers/autoencoder_kl", Autoencoder, _batch(3), first, True),
    ),
)
