"""Modules of other fields: audio front ends, point clouds, recommenders, control, time series, diffusion."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from .case import Case, LitArgs, LitXY, first, images, spread


class Spectrogram(nn.Module):
    """``torch.stft`` to mel bands in decibels, normalized per clip."""

    def __init__(self):
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        self.register_buffer("bands", torch.rand(33, 12))
        self.head = nn.GRU(12, 8, batch_first=True)

    def forward(self, wave):
        power = torch.stft(wave, 64, 16, window=self.window, return_complex=True).abs().square()
        mel = 10 * torch.log10((power.transpose(1, 2) @ self.bands).clamp(min=1e-6))
        return self.head((mel - mel.mean((1, 2), keepdim=True)) / mel.std((1, 2), keepdim=True))[0]


class Masking(nn.Module):
    """Speech enhancement: a mask for the complex spectrum and back to a wave by overlapping sums."""

    def __init__(self):
        super().__init__()
        self.mask = nn.Linear(17, 17)

    def forward(self, wave):
        frames = wave.unfold(1, 32, 32)
        spectrum = torch.fft.rfft(frames, dim=-1)
        mask = torch.sigmoid(self.mask(torch.log1p(spectrum.abs())))
        return torch.fft.irfft(spectrum * mask, n=32, dim=-1).flatten(1)


class TextCNN(nn.Module):
    """Convolutions of three widths, each pooled over the whole text."""

    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(30, 8)
        self.convs = nn.ModuleList([nn.Conv1d(8, 6, k) for k in (2, 3, 4)])
        self.head = nn.Linear(18, 3)

    def forward(self, ids):
        x = self.emb(ids).transpose(1, 2)
        pooled = [functional.max_pool1d(h, h.size(2)).squeeze(2) for h in (c(x).relu() for c in self.convs)]
        return self.head(torch.cat(pooled, 1))


class PointNet(nn.Module):
    """Nearest neighbours in feature space and the largest edge feature."""

    def __init__(self):
        super().__init__()
        self.edge, self.head = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16)), nn.Linear(16, 4)

    def forward(self, points):
        square = points.square().sum(-1)
        distance = square[:, :, None] + square[:, None] - 2 * points @ points.transpose(1, 2)
        near = distance.topk(4, -1, largest=False).indices
        batch = torch.arange(points.shape[0])[:, None, None]
        neighbours = points[batch, near]
        centre = points.unsqueeze(2).expand_as(neighbours)
        return self.head(self.edge(torch.cat([centre, neighbours - centre], -1)).amax(2).amax(1))


class FarthestVoxels(nn.Module):
    """Points summed into a grid, then convolved."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3, padding=1)

    def forward(self, points):
        cell = (points.sigmoid() * 4).floor().clamp(0, 3).long()
        index = cell[..., 0] * 16 + cell[..., 1] * 4 + cell[..., 2]
        grid = points.new_zeros(points.shape[0], 64).scatter_add(1, index, torch.ones_like(points[..., 0]))
        return self.conv(grid.view(-1, 1, 4, 4, 4)).mean((2, 3, 4))


class DeepFM(nn.Module):
    """Numbers and categories, second-order interactions by the square trick."""

    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(n, 4) for n in (5, 7, 11)])
        self.deep = nn.Sequential(nn.Linear(15, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, numbers, categories):
        fields = torch.stack([t(categories[:, i]) for i, t in enumerate(self.tables)], 1)
        crossed = (fields.sum(1).square() - fields.square().sum(1)).sum(1, keepdim=True) / 2
        return torch.sigmoid(crossed + self.deep(torch.cat([fields.flatten(1), numbers], 1))).squeeze(1)


class Recommends(LitArgs):
    def __init__(self):
        super().__init__()
        self.net = DeepFM()

    def forward(self, numbers, categories):
        return self.net(numbers, categories)


class DecisionPolicy(nn.Module):
    """A Gaussian policy squashed by tanh, with its log probability at the mean."""

    def __init__(self):
        super().__init__()
        self.body, self.mean, self.scale = nn.Linear(6, 16), nn.Linear(16, 2), nn.Linear(16, 2)

    def forward(self, observation):
        h = self.body(observation).tanh()
        mean, scale = self.mean(h), self.scale(h).clamp(-5, 2).exp()
        chance = -scale.log() - 0.5 * math.log(2 * math.pi) - torch.log1p(-mean.tanh().square() + 1e-6)
        return mean.tanh(), chance.sum(-1)


class Autoformer(nn.Module):
    """Moving averages remove the trend, and correlation by Fourier transform finds the period."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        padded = torch.cat([x[:, :1].repeat(1, 2, 1), x, x[:, -1:].repeat(1, 2, 1)], 1)
        trend = functional.avg_pool1d(padded.transpose(1, 2), 5, 1).transpose(1, 2)
        season = x - trend
        f = torch.fft.rfft(season, dim=1)
        correlation = torch.fft.irfft(f * f.conj(), n=x.shape[1], dim=1)
        return self.head(trend + season * correlation.softmax(1))


class Denoiser(nn.Module):
    """A small UNet with a sinusoidal embedding of the diffusion step."""

    def __init__(self):
        super().__init__()
        self.time, self.into, self.down = nn.Linear(16, 8), nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1)
        self.up, self.out = nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.Conv2d(16, 2, 3, padding=1)

    def forward(self, x, t):
        frequency = torch.exp(-math.log(10000) * torch.arange(8) / 8)
        angle = t.float()[:, None] * frequency
        told = self.time(torch.cat([angle.sin(), angle.cos()], -1))[:, :, None, None]
        a = functional.silu(self.into(x) + told)
        b = self.up(functional.silu(functional.group_norm(self.down(a), 2)))
        return self.out(torch.cat([a, b[..., : a.shape[2], : a.shape[3]]], 1))


class Diffuses(LitArgs):
    def __init__(self):
        super().__init__()
        self.net = Denoiser()

    def forward(self, x, t):
        return self.net(x, t)


class Axial(nn.Module):
    """Attention along rows, then columns, with a grid of coordinates from -1 to 1."""

    def __init__(self):
        super().__init__()
        self.into = nn.Conv2d(5, 8, 1)
        self.rows, self.columns = (nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))

    def forward(self, x):
        b, _, h, w = x.shape
        grid = torch.stack(torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij"))
        x = self.into(torch.cat([x, grid.expand(b, -1, -1, -1)], 1)).permute(0, 2, 3, 1)
        rows = x.reshape(b * h, w, 8)
        x = x + self.rows(rows, rows, rows)[0].view(b, h, w, 8)
        columns = x.transpose(1, 2).reshape(b * w, h, 8)
        return x + self.columns(columns, columns, columns)[0].view(b, w, h, 8).transpose(1, 2)


class Pyramid(nn.Module):
    """Pooled to a share of the size, resized back."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        h = self.conv(x)
        half = functional.interpolate(h, size=(int(h.shape[2] * 0.5), int(h.shape[3] * 0.5)), mode="bilinear")
        back = functional.interpolate(half, size=h.shape[2:], mode="bilinear", align_corners=True)
        return back + h * functional.avg_pool2d(h, h.shape[2:])


class Scaled(nn.Module):
    """Attention scaled by the logarithm of the length."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        score = q @ k.transpose(1, 2) * (math.log(x.shape[1]) / math.sqrt(8 * x.shape[1]))
        return score.softmax(-1) @ v


class LowRank(nn.Module):
    """Cayley's orthogonal matrix of a weight, an inverse of weights."""

    def __init__(self):
        super().__init__()
        self.skew = nn.Parameter(torch.randn(6, 6))

    def forward(self, x):
        skew = self.skew - self.skew.T
        return x @ torch.linalg.solve(torch.eye(6) + skew, torch.eye(6) - skew)


class Warps(nn.Module):
    """A spatial transformer."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Linear(3, 6)

    def forward(self, x):
        theta = self.theta(x.mean((2, 3))).view(-1, 2, 3) * 0.1 + torch.eye(2, 3)
        return functional.grid_sample(
            x, functional.affine_grid(theta, x.shape, align_corners=False), align_corners=False
        )


class Ranks(nn.Module):
    """Scores of items, sorted, with the share of each within its list."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(5, 1)

    def forward(self, items):
        scores = self.score(items).squeeze(-1)
        order = scores.argsort(-1, descending=True)
        return order, scores.gather(1, order).softmax(-1).cumsum(-1)


class Capsules(nn.Module):
    """Routing by agreement, three rounds."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 6, 8, 5) * 0.1)

    def forward(self, x):
        votes = torch.einsum("bic,nicd->bnid", x, self.weight[:, : x.shape[1]])
        logits = x.new_zeros(votes.shape[:3])
        for _ in range(3):
            out = (logits.softmax(1).unsqueeze(-1) * votes).sum(2)
            norm = out.norm(dim=-1, keepdim=True)
            out = out * norm / (1 + norm.square())
            logits = logits + (votes * out.unsqueeze(2)).sum(-1)
        return out.norm(dim=-1)


def waves(b: int, v: int):
    return torch.randn(b, 320 + 64 * v), torch.zeros(b)


def clouds(b: int, v: int):
    return torch.randn(b, 12 + 5 * v, 3), torch.zeros(b)


def rows(b: int, v: int):
    return torch.randn(b, 3), torch.stack([torch.randint(0, n, (b,)) for n in (5, 7, 11)], 1)


def noisy(b: int, v: int):
    return torch.randn(b, 2, 16 + 8 * v, 16 + 4 * v), torch.randint(0, 1000, (b,))


def series(features: int):
    return lambda b, v: (torch.randn(b, 10 + 3 * v, features), torch.zeros(b))


def texts(b: int, v: int):
    return torch.randint(0, 30, (b, 9 + 4 * v)), torch.zeros(b)


CASES = [
    Case("field/stft_mel", lambda: LitXY(Spectrogram()), waves, first, True),
    Case("field/spectral_mask", lambda: LitXY(Masking()), waves, first, True),
    Case("field/text_cnn", lambda: LitXY(TextCNN()), texts, first, True),
    Case("field/point_edges", lambda: LitXY(PointNet()), clouds, first, True),
    Case("field/voxels", lambda: LitXY(FarthestVoxels()), clouds, first, True),
    Case("field/deep_fm", Recommends, rows, spread),
    Case("field/policy", lambda: LitXY(DecisionPolicy()), images((6,)), first),
    Case("field/autocorrelation", lambda: LitXY(Autoformer()), series(4), first, True),
    Case("field/denoiser", Diffuses, noisy, spread, True),
    Case("field/axial_attention", lambda: LitXY(Axial()), images((3, 8, 8), (3, 10, 12), (3, 9, 14)), first, True),
    Case("field/share_of_size", lambda: LitXY(Pyramid()), images((3, 16, 16), (3, 24, 20), (3, 18, 26)), first, True),
    Case("field/log_scaled_attention", lambda: LitXY(Scaled()), series(8), first, True),
    Case("field/cayley", lambda: LitXY(LowRank()), images((6,)), first),
    Case("field/spatial_transformer", lambda: LitXY(Warps()), images((3, 12, 12), (3, 16, 20), (3, 14, 18)), first, True),
    Case("field/ranking", lambda: LitXY(Ranks()), series(5), first, True),
    Case("field/capsules", lambda: LitXY(Capsules()), images((6, 8)), first),
]  # fmt: skip
