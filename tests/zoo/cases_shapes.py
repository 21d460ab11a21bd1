"""Sets, tables, pairs, and unusual operators and parametrizations."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from .case import Case, Lit, LitArgs, LitXY, first, images, spread


class PointNet(nn.Module):
    """A learned rotation of the cloud, features of each point, and their maxima."""

    def __init__(self):
        super().__init__()
        self.turn = nn.Sequential(nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.ReLU())
        self.angles, self.net = nn.Linear(8, 9), nn.Conv1d(3, 16, 1)
        self.head = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 4))

    def forward(self, points):
        x = points.transpose(1, 2)
        matrix = self.angles(torch.max(self.turn(x), 2)[0]).view(-1, 3, 3) + torch.eye(3, device=x.device).repeat(
            x.size(0), 1, 1
        )
        h = self.net(torch.bmm(points, matrix).transpose(1, 2))
        return self.head(torch.max(h, 2, keepdim=True)[0].view(-1, 16)), matrix


class LitDeepSets(LitArgs):
    def __init__(self):
        super().__init__()
        self.each, self.all = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, items, mask):
        h = self.each(items).relu().masked_fill(~mask.unsqueeze(-1), 0.0)
        return self.all(h.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))


class SetTransformer(nn.Module):
    """Induced points: learned queries for every set."""

    def __init__(self):
        super().__init__()
        self.seeds = nn.Parameter(torch.randn(1, 3, 8))
        self.lift = nn.Linear(4, 8)
        self.gather, self.spread = (
            nn.MultiheadAttention(8, 2, batch_first=True),
            nn.MultiheadAttention(8, 2, batch_first=True),
        )

    def forward(self, x):
        x = self.lift(x)
        seeds = self.seeds.expand(x.shape[0], -1, -1)
        h, _ = self.gather(seeds, x, x, need_weights=False)
        out, share = self.spread(x, h, h)
        return out.mean(1), share


class EdgeConv(nn.Module):
    """Nearest neighbors in the cloud (DGCNN): distances, topk, gather."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))

    def forward(self, points):
        near = torch.cdist(points, points).topk(4, dim=-1, largest=False).indices
        b, n, k = near.shape
        neighbours = points.gather(1, near.reshape(b, n * k, 1).expand(-1, -1, 3)).view(b, n, k, 3)
        centre = points.unsqueeze(2).expand(-1, -1, k, -1)
        return self.net(torch.cat([centre, neighbours - centre], -1)).amax(2)


class Flow(nn.Module):
    """Coupling layers: the image of x and the logarithm of the volume."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 6)) for _ in range(4)])
        self.register_buffer("order", torch.randperm(6))

    def forward(self, x):
        logdet = x.new_zeros(x.shape[0])
        for layer in self.layers:
            a, b = x.chunk(2, 1)
            scale, shift = layer(a).chunk(2, 1)
            scale = scale.tanh()
            x, logdet = torch.cat([a, b * scale.exp() + shift], 1)[:, self.order], logdet + scale.sum(1)
        return x, logdet - 0.5 * (x**2 + math.log(2 * math.pi)).sum(1)


class DenseExperts(nn.Module):
    """Each token uses the two most likely experts; all are computed, and the gates choose."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(8, 4), nn.Parameter(torch.randn(4, 8, 8) * 0.3)

    def forward(self, x):
        weight, chosen = self.gate(x).topk(2, -1)
        gates = torch.zeros(*x.shape[:-1], 4, device=x.device, dtype=x.dtype).scatter(-1, chosen, weight.softmax(-1))
        return torch.einsum("btd,edh,bte->bth", x, self.experts, gates), gates


class SparseExperts(nn.Module):
    """Each expert processes the tokens that chose it, as in Mixtral."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(8, 3), nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])

    def forward(self, x):
        flat = x.reshape(-1, 8)
        weight, chosen = self.gate(flat).softmax(-1).topk(2, -1)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            rows, slots = torch.where(chosen == number)
            out.index_add_(0, rows, expert(flat[rows]) * weight[rows, slots, None])
        return out.view_as(x)


class LitTriplet(LitArgs):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, anchor, positive, negative):
        a, p, n = (functional.normalize(self.net(x), dim=-1) for x in (anchor, positive, negative))
        return a, functional.pairwise_distance(a, p), functional.pairwise_distance(a, n)


class LitContrast(Lit):
    """SimCLR: both views of a batch in one call, so that forward gets twice the loader's batch."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(32, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x):
        return functional.normalize(self.net(x), dim=1)

    def step(self, batch):
        z = self(torch.cat([batch[0], batch[0] + 0.1 * torch.randn_like(batch[0])]))
        same = z @ z.t() / 0.5
        target = (torch.arange(len(z), device=z.device) + len(z) // 2) % len(z)
        return functional.cross_entropy(same - 1e9 * torch.eye(len(z), device=z.device), target)


class LitClip(LitArgs):
    """Two towers and the table of all pairs: batch by batch."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.scale = nn.Linear(6, 4), nn.Linear(5, 4), nn.Parameter(torch.tensor(1.0))

    def forward(self, image, text):
        a, b = functional.normalize(self.a(image), dim=-1), functional.normalize(self.b(text), dim=-1)
        table = self.scale.exp() * a @ b.t()
        return table, table.t()


class LitFactors(LitArgs):
    """A recommender: dot product of two embeddings and their biases."""

    def __init__(self):
        super().__init__()
        self.users, self.items = nn.Embedding(30, 6), nn.Embedding(40, 6)
        self.user_bias, self.item_bias = nn.Embedding(30, 1), nn.Embedding(40, 1)

    def forward(self, user_id, item_id):
        dot = (self.users(user_id) * self.items(item_id)).sum(-1)
        return torch.sigmoid(dot + self.user_bias(user_id).squeeze(-1) + self.item_bias(item_id).squeeze(-1))


class LitTable(LitArgs):
    """FT-Transformer: a token for each column and one for the class."""

    def __init__(self):
        super().__init__()
        self.category, self.weight = nn.Embedding(12, 8), nn.Parameter(torch.randn(5, 8))
        self.bias, self.cls = nn.Parameter(torch.zeros(5, 8)), nn.Parameter(torch.zeros(1, 1, 8))
        self.register_buffer("offsets", torch.tensor([0, 4, 8]))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu")
        self.net, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(8, 1)

    def forward(self, x_num, x_cat):
        tokens = torch.cat([self.category(x_cat + self.offsets), x_num.unsqueeze(-1) * self.weight + self.bias], 1)
        tokens = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], 1)
        return self.head(self.net(tokens)[:, 0])


class Squeezed(nn.Module):
    """``squeeze()`` without a dim: a batch of one loses it."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.net(x).squeeze()


class Operators(nn.Module):
    def __init__(self):
        super().__init__()
        self.lift = nn.Linear(5, 8)

    def forward(self, x):
        h = self.lift(x)
        ordered, order = torch.sort(h, dim=-1, descending=True)
        top, _ = h.topk(3, dim=1)
        share = torch.cumsum(ordered.softmax(-1), -1)
        kept = torch.where(share < 0.9, ordered, torch.full_like(ordered, -1e4))
        back = torch.zeros_like(h).scatter(-1, order, kept)
        pairs = torch.einsum("bti,btj->bij", h, back.clamp(-5, 5))
        hot = functional.one_hot(h.argmax(-1), 8).to(h.dtype)
        band = torch.tril(torch.ones(h.shape[1], h.shape[1], device=x.device)) @ h
        return {
            "kept": kept, "top": top, "pairs": pairs, "hot": hot, "band": band, "norm": torch.linalg.norm(h, dim=(1, 2)),
            "median": h.median(-1).values, "any": (h > 0).any(-1), "roll": h.roll(1, 1), "flip": h.flip(1),
            "lse": h.logsumexp(-1), "var": h.var(1, unbiased=False),
        }  # fmt: skip


class Hyper(nn.Module):
    """Weights made for each row; Fourier features; FiLM."""

    def __init__(self):
        super().__init__()
        self.register_buffer("waves", torch.randn(3, 6))
        self.make, self.film = nn.Linear(12, 24), nn.Linear(12, 8)

    def forward(self, x):
        wave = x @ self.waves
        h = torch.cat([wave.sin(), wave.cos()], -1)
        w = self.make(h).reshape(-1, 3, 8)
        scale, shift = self.film(h).chunk(2, -1)
        out = torch.baddbmm(torch.ones(1, 1, 8, device=x.device), x.unsqueeze(1), w).squeeze(1)
        return out[:, :4] * scale + shift


class Normed(nn.Module):
    """Old and new spectral norm, old weight norm."""

    def __init__(self):
        super().__init__()
        self.a = nn.utils.spectral_norm(nn.Conv2d(3, 6, 3))
        self.b = nn.utils.parametrizations.spectral_norm(nn.Conv2d(6, 6, 3))
        self.c = nn.utils.weight_norm(nn.Conv2d(6, 4, 3))
        self.d = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))

    def forward(self, x):
        return self.d(self.c(self.b(self.a(x).relu()).relu()).mean((-2, -1)))


class Pruned(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 4)
        prune.l1_unstructured(self.a, "weight", amount=0.5)
        prune.ln_structured(self.b, "weight", amount=0.25, n=2, dim=0)

    def forward(self, x):
        return self.b(self.a(x).relu())


class Mapped(nn.Module):
    """``torch.vmap`` over rows and a model of several members."""

    def __init__(self):
        super().__init__()
        self.members = nn.Parameter(torch.randn(3, 5, 2))

    def forward(self, x):
        each = torch.vmap(lambda w: x @ w)(self.members)
        return each.mean(0), each.std(0)


class Energy(nn.Module):
    """Forces are the gradient of the energy with respect to the positions."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, place):
        with torch.enable_grad():
            place = place.requires_grad_(True)
            energy = self.net(place).sum((1, 2))
            (force,) = torch.autograd.grad(energy.sum(), place, create_graph=self.training)
        return energy, -force


class Vectors(nn.Module):
    """Quaternions, cross products, determinants, as for robots and molecules."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(6, 9)

    def forward(self, x):
        m = self.net(x).view(-1, 3, 3)
        a = functional.normalize(m[:, 0], dim=-1)
        b = functional.normalize(m[:, 1] - (a * m[:, 1]).sum(-1, keepdim=True) * a, dim=-1)
        c = torch.cross(a, b, dim=-1)
        turn = torch.stack([a, b, c], 1)
        return (
            turn,
            torch.atan2(turn[:, 1, 0], turn[:, 0, 0]),
            torch.linalg.det(m),
            torch.diagonal(m, dim1=-2, dim2=-1).sum(-1),
        )


def sets(b: int, v: int):
    mask = torch.rand(b, 5 + 2 * v) > 0.3
    return torch.randn(b, 5 + 2 * v, 4), mask


def clouds(n: int):
    return images((n, 3), (n + 4, 3), (n + 10, 3))


def net(name: str, make, batch, varies: bool = False, **more) -> Case:
    return Case(f"shape/{name}", lambda: LitXY(make()), batch, first, varies, **more)


CASES = [
    net("pointnet", PointNet, clouds(10), True),
    Case("shape/deepsets_mask", LitDeepSets, sets, spread, True),
    net("set_transformer", SetTransformer, images((5, 4), (7, 4), (10, 4)), True),
    net("edge_conv_knn", EdgeConv, clouds(8), True),
    net("normalizing_flow", Flow, images((6,))),
    net("experts_dense", DenseExperts, images((5, 8), (7, 8), (9, 8)), True),
    net("experts_sparse", SparseExperts, images((5, 8), (7, 8), (9, 8)), True),
    Case("shape/triplet", LitTriplet, lambda b, v: tuple(torch.randn(b, 1, 8, 8) for _ in range(3)), spread),
    Case("shape/contrast_drop_last", LitContrast, images((32,)), first, same_size=True),
    Case("shape/contrast", LitContrast, images((32,)), first),
    Case("shape/clip_table", LitClip, lambda b, v: (torch.randn(b, 6), torch.randn(b, 5)), spread),
    Case("shape/clip_table_drop_last", LitClip, lambda b, v: (torch.randn(b, 6), torch.randn(b, 5)), spread, same_size=True),
    Case("shape/matrix_factors", LitFactors, lambda b, v: (torch.randint(0, 30, (b,)), torch.randint(0, 40, (b,))), spread),
    Case("shape/table_transformer", LitTable, lambda b, v: (torch.randn(b, 5), torch.randint(0, 4, (b, 3))), spread),
    net("squeeze_all", Squeezed, images((6,)), smallest=2),
    net("operators", Operators, images((6, 5), (8, 5), (11, 5)), True),
    net("hyper_network", Hyper, images((3,))),
    net("norms_of_weights", Normed, images((3, 12, 12))),
    net("pruned", Pruned, images((8,))),
    net("vmap_members", Mapped, images((5,))),
    net("energy_gradient", Energy, images((4, 3))),
    net("vectors", Vectors, images((6,))),
]  # fmt: skip
