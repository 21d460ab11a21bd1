"""Operations on images whose height and width vary."""

from __future__ import annotations

from tests.property.steps.base import IMAGE, Step

IMAGES = [
    Step(IMAGE, "x = F.max_pool2d(x, 2, ceil_mode={flag})"),
    Step(IMAGE, "x = F.avg_pool2d(x, 3, 2, 1, count_include_pad={flag})"),
    Step(IMAGE, "x = F.adaptive_avg_pool2d(x, {small})"),
    Step(IMAGE, "x = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners={flag})"),
    Step(IMAGE, "x = F.interpolate(x, size=(8, 8), mode='nearest')"),
    Step(IMAGE, "x = F.pad(x, (0, -x.shape[-1] % 4, 0, -x.shape[-2] % 4))"),
    Step(IMAGE, "side = max(x.shape[-2:])\nx = F.pad(x, (0, side - x.shape[-1], 0, side - x.shape[-2]))"),
    Step(IMAGE, "x = F.pixel_unshuffle(F.pad(x, (1, 1, 1, 1)), 1)"),
    Step(IMAGE, "x = x.flip(-1) + x.roll(1, -2)"),
    Step(IMAGE, "x = F.pad(x, (1, 1, 1, 1), mode='reflect')"),
    Step(IMAGE, "x = x - x.mean((2, 3), keepdim=True)"),
    Step(IMAGE, "x = torch.fft.rfft2(x).abs()"),
    Step(IMAGE, "x = torch.cat([c - c.amax(-1, keepdim=True) for c in x.split({size}, -1)], -1)"),
    Step(
        IMAGE,
        "g = F.affine_grid(self.theta{n}.expand(x.shape[0], 2, 3), list(x.shape), align_corners=False)\n"
        "x = F.grid_sample(x, g, align_corners=False)",
        "self.theta{n} = nn.Parameter(torch.eye(2, 3).unsqueeze(0) * 0.8)",
    ),
    Step(IMAGE, "x = self.out{n}(x.mean((2, 3)))", "self.out{n} = nn.Linear(4, 6)", gives="rows"),
    Step(IMAGE, "x = self.out{n}(x.flatten(2).transpose(1, 2))", "self.out{n} = nn.Linear(4, 6)", gives="steps"),
]
