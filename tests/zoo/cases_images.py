"""Networks on images and volumes, in plain torch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .case import Case, Lit, LitArgs, LitXY, any_loss, first, images, spread

ODD = ((3, 33, 47), (3, 40, 52), (3, 51, 38))


class UNet(nn.Module):
    """Features are interpolated to the size of the skip connections, so any size works."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in ((3, 8), (8, 12), (12, 16))])
        self.up = nn.ModuleList([nn.Conv2d(i, o, 3, padding=1) for i, o in ((28, 12), (20, 8))])
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        size, skips = x.shape[-2:], []
        for layer in self.down:
            x = functional.gelu(layer(x))
            skips.append(x)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            x = functional.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = functional.gelu(layer(torch.cat([x, skip], 1)))
        return functional.interpolate(self.out(x), size=size, mode="bilinear", align_corners=False)


class PyramidPooling(nn.Module):
    """Adaptive pooling to several grids, as in PSPNet."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.pools = nn.ModuleList([nn.AdaptiveAvgPool2d(n) for n in (1, 2, 3, 6)])
        self.out = nn.Conv2d(40, 2, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        pooled = [functional.interpolate(p(x), x.shape[-2:], mode="bilinear", align_corners=True) for p in self.pools]
        return self.out(torch.cat([x, *pooled], 1))


class AdaptiveHead(nn.Module):
    """The head of VGG and AlexNet: any image becomes a grid of 3 x 3."""

    def __init__(self, pool: type[nn.Module]):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), pool((3, 3)))
        self.head = nn.Linear(54, 5)

    def forward(self, x):
        return self.head(torch.flatten(self.stem(x), 1))


class StyleTransfer(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.ReflectionPad2d(4), nn.Conv2d(3, 8, 9), nn.InstanceNorm2d(8, affine=True), nn.ReLU(),
            nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.GroupNorm(3, 12), nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="nearest"), nn.ReplicationPad2d(1), nn.Conv2d(12, 3, 3), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x):
        return self.net(x)


class SuperResolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1), nn.PReLU(), nn.Conv2d(12, 27, 3, padding=1), nn.PixelShuffle(3)
        )

    def forward(self, low):
        return self.body(low) + functional.interpolate(low, scale_factor=3, mode="bicubic", align_corners=False)


class SpatialTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.locate = nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)
        )
        self.net = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        theta = self.locate(x).view(-1, 2, 3) * 0.1 + torch.eye(2, 3, device=x.device)
        grid = functional.affine_grid(theta, x.size(), align_corners=False)
        return self.net(functional.grid_sample(x, grid, align_corners=False))


class Keypoints(nn.Module):
    """Heatmaps and the expected place of each keypoint."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))

    def forward(self, x):
        heat = self.net(x)
        b, k, h, w = heat.shape
        share = heat.view(b, k, h * w).softmax(-1).view(b, k, h, w)
        xs, ys = torch.linspace(0, 1, w, device=x.device), torch.linspace(0, 1, h, device=x.device)
        return {"heatmaps": heat, "places": torch.stack([(share.sum(2) * xs).sum(-1), (share.sum(3) * ys).sum(-1)], -1)}


class Detr(nn.Module):
    """A set of boxes for an image, with the losses' outputs of the inner layers."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 7, stride=4), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=4))
        self.rows, self.cols = nn.Parameter(torch.rand(20, 8)), nn.Parameter(torch.rand(20, 8))
        self.queries = nn.Parameter(torch.rand(6, 16))
        self.transformer = nn.Transformer(16, 2, 1, 2, 32, batch_first=True)
        self.classes, self.boxes = nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, x):
        h = self.backbone(x)
        rows, cols = h.shape[-2:]
        place = torch.cat(
            [self.cols[:cols].unsqueeze(0).repeat(rows, 1, 1), self.rows[:rows].unsqueeze(1).repeat(1, cols, 1)], -1
        ).flatten(0, 1)
        tokens = h.flatten(2).transpose(1, 2) + place.unsqueeze(0)
        out = self.transformer(tokens, self.queries.unsqueeze(0).repeat(x.shape[0], 1, 1))
        aux = {"logits": self.classes(out), "boxes": self.boxes(out).sigmoid()}
        return {"pred_logits": self.classes(out), "pred_boxes": self.boxes(out).sigmoid(), "aux_outputs": [aux]}


class Diffusion(nn.Module):
    """A UNet's block with sinusoidal time embedding, group norm and attention over pixels."""

    def __init__(self):
        super().__init__()
        self.into = nn.Conv2d(3, 16, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16))
        self.norm, self.qkv = nn.GroupNorm(4, 16), nn.Conv2d(16, 48, 1)
        self.out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x, t):
        steps = torch.exp(-torch.arange(8, device=x.device) / 8 * 9.2)
        angle = t[:, None].float() * steps[None]
        h = self.into(x) + self.time(torch.cat([angle.sin(), angle.cos()], 1))[:, :, None, None]
        b, c, height, width = h.shape
        q, k, v = self.qkv(self.norm(h)).reshape(b, 3, 2, c // 2, height * width).transpose(-1, -2).unbind(1)
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, c, height, width)
        return self.out(h + attended)


class LitDiffusion(Lit):
    def __init__(self):
        super().__init__()
        self.net = Diffusion()

    def forward(self, noisy, t):
        return self.net(noisy, t)

    def step(self, batch):
        clean, _ = batch
        t = torch.randint(0, 1000, (clean.shape[0],), device=clean.device)
        return any_loss(self(clean + torch.randn_like(clean), t))


class VQVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Conv2d(3, 8, 4, stride=4), nn.ConvTranspose2d(8, 3, 4, stride=4)
        self.codes = nn.Embedding(16, 8)

    def forward(self, x):
        z = self.encode(x).permute(0, 2, 3, 1)
        flat = z.reshape(-1, 8)
        far = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ self.codes.weight.t() + self.codes.weight.pow(2).sum(1)
        index = far.argmin(1)
        near = self.codes(index).view(z.shape)
        near_st = z + (near - z).detach()
        return self.decode(near_st.permute(0, 3, 1, 2)), index.view(z.shape[:-1]), (near - z).pow(2).mean()


class LitRegions(LitArgs):
    """Features of a variable number of proposed regions."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Linear(54, 4)

    def forward(self, image, rois):
        import torchvision

        pooled = torchvision.ops.roi_align(self.stem(image), rois, output_size=3, spatial_scale=0.5, sampling_ratio=2)
        return self.head(pooled.flatten(1))


def regions(b: int, v: int):
    n = 5 + 3 * v
    corner = torch.rand(n, 2) * 16
    return torch.randn(b, 3, 32, 32), torch.cat(
        [torch.randint(0, b, (n, 1)).float(), corner, corner + 4 + torch.rand(n, 2) * 8], 1
    )


class LitYolo(LitXY):
    """Boxes of one image after non-maximum suppression: their number depends on the values."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 5, 8, stride=8))

    def forward(self, x):
        import torchvision

        raw = self.net(x).flatten(2).transpose(1, 2)
        if self.training:
            return raw
        place = torch.arange(raw.shape[1], device=x.device, dtype=x.dtype)[:, None] * 3
        boxes = torch.cat([raw[0, :, :2].sigmoid() + place, raw[0, :, :2].sigmoid() + place + 6], 1)
        scores = raw[0, :, 4].sigmoid()
        kept = torchvision.ops.nms(boxes, scores, 0.3)
        return boxes[kept], scores[kept]


class Video(nn.Module):
    """Convolutions over time and space, then frames one by one in the batch."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d((1, 2, 2)))
        self.frame = nn.Conv2d(6, 8, 3, stride=2)
        self.over_time = nn.GRU(8, 8, batch_first=True)

    def forward(self, x):
        h = self.stem(x)
        b, c, t, height, width = h.shape
        frames = self.frame(h.transpose(1, 2).reshape(b * t, c, height, width)).mean((-2, -1))
        out, _ = self.over_time(frames.view(b, t, -1))
        return out[:, -1]


class UNet3D(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 8, 3, stride=2, padding=1)
        self.up, self.out = nn.ConvTranspose3d(8, 4, 2, stride=2), nn.Conv3d(8, 2, 1)
        self.norm = nn.InstanceNorm3d(8)

    def forward(self, x):
        a = functional.leaky_relu(self.a(x))
        return self.out(torch.cat([a, self.up(self.norm(self.b(a)))], 1))


class MobileBlock(nn.Module):
    """Depthwise convolution, squeeze and excitation, hard activations, a residual."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), nn.Hardswish(), nn.Conv2d(12, 12, 5, padding=2, groups=12)
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 4, 1), nn.ReLU6(), nn.Conv2d(4, 12, 1), nn.Hardsigmoid()
        )
        self.out = nn.Conv2d(12, 3, 1)

    def forward(self, x):
        h = self.net(x)
        return x + self.out(h * self.squeeze(h))


class Deformable(nn.Module):
    def __init__(self):
        super().__init__()
        import torchvision

        self.offset, self.conv = nn.Conv2d(3, 18, 3, padding=1), torchvision.ops.DeformConv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x, self.offset(x) * 0.1)


class Radiance(nn.Module):
    """Rays through a field, composed along depth."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(27, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, rays):
        depth = torch.linspace(0.1, 2.0, 6, device=rays.device)
        points = rays[:, None, :3] + rays[:, None, 3:] * depth[:, None]
        angle = points[..., None] * 2 ** torch.arange(4, device=rays.device)
        field = self.net(torch.cat([points, angle.sin().flatten(-2), angle.cos().flatten(-2)], -1))
        alpha = 1 - torch.exp(-functional.softplus(field[..., 3]))
        passed = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], 1), 1)
        return ((alpha * passed)[..., None] * field[..., :3].sigmoid()).sum(1)


def net(name: str, make, *sizes: tuple[int, ...], **more) -> Case:
    return Case(f"image/{name}", lambda: LitXY(make()), images(*sizes), first, len(sizes) > 1, **more)


CASES = [
    net("unet_interpolate_odd", UNet, *ODD),
    net("pyramid_pooling_multiscale", PyramidPooling, (3, 48, 64), (3, 64, 80), (3, 56, 72)),
    net("adaptive_head_multiscale", lambda: AdaptiveHead(nn.AdaptiveAvgPool2d), (3, 32, 32), (3, 48, 40), (3, 41, 36)),
    net("adaptive_max_multiscale", lambda: AdaptiveHead(nn.AdaptiveMaxPool2d), (3, 32, 32), (3, 48, 40), (3, 41, 36)),
    net("style_transfer", StyleTransfer, (3, 32, 32), (3, 40, 48), (3, 48, 44)),
    net("super_resolution", SuperResolution, (3, 12, 16), (3, 16, 12), (3, 21, 17)),
    net("spatial_transformer", SpatialTransformer, (3, 28, 28)),
    net("spatial_transformer_multiscale", SpatialTransformer, (3, 28, 28), (3, 32, 36), (3, 40, 30)),
    net("keypoints_soft_argmax", Keypoints, (3, 32, 24), (3, 40, 32), (3, 48, 36)),
    net("detr", Detr, (3, 96, 96), (3, 112, 128), (3, 128, 144)),
    net("vqvae", VQVAE, (3, 16, 16), (3, 24, 32), (3, 32, 28)),
    net("video_conv3d_gru", Video, (3, 4, 16, 16), (3, 6, 16, 16), (3, 9, 16, 16)),
    net("unet3d", UNet3D, (1, 8, 12, 8), (1, 12, 8, 16), (1, 16, 20, 12)),
    net("mobile_block", MobileBlock, (3, 20, 20)),
    net("deformable", Deformable, (3, 16, 16)),
    net("radiance_field", Radiance, (6,)),
    Case("image/diffusion_attention", LitDiffusion, images((3, 8, 8), (3, 12, 10), (3, 16, 14)),
         lambda batch: ((batch[0], torch.arange(batch[0].shape[0]) * 70), {}), True),
    Case("image/roi_align", LitRegions, regions, spread, True),
    Case("image/yolo_nms", LitYolo, lambda b, v: (torch.randn(1, 3, 64, 64), torch.zeros(1)), first, batched=False),
]  # fmt: skip
