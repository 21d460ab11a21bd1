"""Models of timm, segmentation-models-pytorch, MONAI and einops inside plain LightningModules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .case import Case, LitXY, first, images


def timm(name: str, size: int = 64, **options: Any) -> Case:
    def make() -> LitXY:
        import timm

        return LitXY(timm.create_model(name, pretrained=False, num_classes=options.pop("num_classes", 4), **options))

    return Case(f"library/timm_{name}", make, images((3, size, size)), first, needs=("timm",))


def timm_sizes(name: str, *sizes: tuple[int, ...], **options: Any) -> Case:
    def make() -> LitXY:
        import timm

        return LitXY(timm.create_model(name, pretrained=False, **options))

    what = "features" if options.get("features_only") else "multiscale"
    return Case(f"library/timm_{name}_{what}", make, images(*sizes), first, True, needs=("timm",))


def segment(name: str, *sizes: tuple[int, ...], encoder: str = "resnet18", **options: Any) -> Case:
    def make() -> LitXY:
        import segmentation_models_pytorch

        net = getattr(segmentation_models_pytorch, name)
        return LitXY(net(encoder_name=encoder, encoder_weights=None, in_channels=3, classes=2, **options))

    sizes = sizes or ((3, 64, 64), (3, 96, 128), (3, 128, 160))
    return Case(
        f"library/smp_{name.lower()}", make, images(*sizes), first, True, needs=("segmentation_models_pytorch",)
    )


def volume(name: str, *sizes: tuple[int, ...], **options: Any) -> Case:
    def make() -> LitXY:
        from monai.networks import nets

        return LitXY(getattr(nets, name)(**options))

    return Case(f"library/monai_{name.lower()}", make, images(*sizes), first, len(sizes) > 1, needs=("monai",))


class Rearranged(nn.Module):
    """A typical ViT with einops."""

    def __init__(self):
        super().__init__()
        from einops.layers.torch import Rearrange

        self.patch = nn.Sequential(Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=4, q=4), nn.Linear(48, 16))
        self.qkv, self.head, self.cls = nn.Linear(16, 48), nn.Linear(16, 3), nn.Parameter(torch.zeros(1, 1, 16))

    def forward(self, x):
        from einops import rearrange, reduce, repeat

        h = self.patch(x)
        h = torch.cat([repeat(self.cls, "1 1 d -> b 1 d", b=h.shape[0]), h], 1)
        q, k, v = (rearrange(m, "b n (h d) -> b h n d", h=2) for m in self.qkv(h).chunk(3, -1))
        share = torch.einsum("b h i d, b h j d -> b h i j", q, k).softmax(-1)
        return self.head(reduce(rearrange(share @ v, "b h n d -> b n (h d)"), "b n d -> b d", "mean"))


CASES = [
    timm("efficientnet_b0"),
    timm("vit_tiny_patch16_224", 64, img_size=64),
    timm("convnext_atto"),
    timm("swin_tiny_patch4_window7_224", 64, img_size=64, embed_dim=24, depths=(1, 1), num_heads=(2, 2), window_size=4),
    timm("mobilenetv4_conv_small"),
    timm("regnety_002"),
    timm("mixer_s32_224", 64, img_size=64),
    timm("edgenext_xx_small"),
    timm_sizes("resnet18", (3, 64, 64), (3, 96, 128), (3, 128, 96), features_only=True),
    timm_sizes("vit_tiny_patch16_224", (3, 64, 64), (3, 96, 128), (3, 128, 96), img_size=64, dynamic_img_size=True, depth=2),
    timm_sizes("mobilenetv3_small_050", (3, 64, 64), (3, 96, 128), (3, 128, 96)),
    timm_sizes("convnextv2_atto", (3, 64, 64), (3, 96, 128), (3, 128, 96), features_only=True),
    segment("Unet"),
    segment("FPN"),
    segment("DeepLabV3Plus"),
    segment("PSPNet"),
    segment("MAnet"),
    segment("Segformer", encoder="mit_b0"),
    volume("UNet", (1, 16, 16, 16), (1, 32, 24, 16), (1, 32, 32, 16), spatial_dims=3, in_channels=1, out_channels=2,
           channels=(4, 8, 12), strides=(2, 2), num_res_units=1),
    volume("SegResNet", (1, 16, 16, 16), (1, 32, 24, 16), (1, 32, 32, 16), spatial_dims=3, init_filters=8, in_channels=1,
           out_channels=2, blocks_down=(1, 1), blocks_up=(1,)),
    volume("SwinUNETR", (1, 64, 64), spatial_dims=2, in_channels=1, out_channels=2, feature_size=12, depths=(1, 1, 1, 1),
           num_heads=(2, 2, 2, 2)),
    Case("library/einops_vit", lambda: LitXY(Rearranged()), images((3, 16, 16), (3, 20, 24), (3, 32, 28)), first, True,
         needs=("einops",)),
]  # fmt: skip
