"""Small constants, and numbers, flags and buffers that a module keeps."""

from __future__ import annotations

from tests.property.steps.base import FLOATS, SERIES, VECTORS, Step

SMALL_CONSTANTS = [
    Step(VECTORS, "x = x / (x.norm(dim=-1, keepdim=True) + {tiny})"),
    Step(FLOATS, "x = (x.abs() + {tiny}).log()"),
    Step(FLOATS, "x = x * (1 + {tiny})"),
    Step(FLOATS, "x = x.abs().clamp(min={tiny}).rsqrt().clamp(max=20.0)"),
    Step(FLOATS, "x = F.softplus(x) + {tiny}"),
    Step(FLOATS, "x = (x * x + {tiny}).sqrt()"),
    Step(VECTORS, "p = x.softmax(-1)\nx = -p * (p + {tiny}).log()"),
    Step(FLOATS, "x = x / (x.abs().amax() + {tiny})"),
    Step(VECTORS, "x = F.normalize(x, dim=-1, eps={tiny})"),
    Step(FLOATS, "x = x.sign() * (x.abs() + {tiny}).pow(0.5)"),
]

SETTINGS = [
    Step(FLOATS, "x = x * self.scale{n}", "self.scale{n} = {number}"),
    Step(FLOATS, "x = x.tanh() if self.squash{n} else x.sigmoid()", "self.squash{n} = {flag}"),
    Step(FLOATS, "x = x.clamp(-self.bound{n}, self.bound{n})", "self.bound{n} = {bound}"),
    Step(FLOATS, "x = x.clamp(-{bound}, {bound}).clamp(-{bound}, {bound})"),
    Step(FLOATS, "x = torch.where(x > self.threshold{n}, x, x * 0.1)", "self.threshold{n} = {number}"),
    Step(FLOATS, "x = x ** self.power{n}", "self.power{n} = {small}"),
    Step(
        VECTORS,
        "x = (x - self.mean{n}) / self.std{n}",
        "self.register_buffer('mean{n}', torch.randn(6))\nself.register_buffer('std{n}', torch.rand(6) + 0.5)",
    ),
    Step(VECTORS, "x = x[..., self.order{n}]", "self.register_buffer('order{n}', torch.randperm(6))"),
    Step(
        SERIES,
        "x = x + self.table{n}[: x.shape[1]]",
        "self.register_buffer('table{n}', torch.randn({table}, 6), persistent={flag})",
    ),
    Step(
        SERIES,
        "x = x + self.positions{n}(torch.arange(x.shape[1], device=x.device))",
        "self.positions{n} = nn.Embedding({table}, 6)",
    ),
]
