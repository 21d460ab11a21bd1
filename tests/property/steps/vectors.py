"""Operations along the last dim, and over the batch."""

from __future__ import annotations

from tests.property.steps.base import ROWS, VECTORS, Step

VECTOR_STEPS = [
    Step(VECTORS, "x = x.sort(-1, descending={flag}).values"),
    Step(VECTORS, "x = x * F.one_hot(x.argmax(-1), 6)"),
    Step(VECTORS, "v, i = x.topk({small}, -1)\nx = torch.zeros_like(x).scatter(-1, i, v.softmax(-1))"),
    Step(
        VECTORS,
        "x = x + torch.bucketize(x, self.edges{n}).float()",
        "self.register_buffer('edges{n}', torch.tensor([-1.0, 0.0, 0.5, 1.0]))",
    ),
    Step(VECTORS, "x = torch.fft.fft(x, dim=-1).real"),
    Step(VECTORS, "a, b = x.chunk(2, -1)\nx = torch.cat([a * b.sigmoid(), a - b], -1)"),
    Step(VECTORS, "x = torch.einsum('...i,...j->...ij', x, x).mean(-1)"),
    Step(VECTORS, "x = x.cummax(-1).values + x.cumsum(-1)"),
    Step(VECTORS, "x = torch.logaddexp(x, x.flip(-1))"),
    Step(VECTORS, "x = x.round() + x.floor() * {number}"),
    Step(VECTORS, "x = x.to(torch.int64).float() * {number} + x.frac()"),
    Step(
        ROWS,
        "x = x.unsqueeze(1) * self.slots{n}.unsqueeze(-1)",
        "self.slots{n} = nn.Parameter(torch.randn({small}))",
        gives="steps",
    ),
    Step(VECTORS, "x = x - x.mean(-1, keepdim=True) / (x.var(-1, keepdim=True) + {tiny})"),
]

OVER_THE_BATCH = [
    Step(ROWS, "x = (x - x.mean(0)) / (x.std(0, unbiased=False) + {tiny})"),
    Step(ROWS, "x = torch.cat([c - c.mean(0) for c in x.split({size})])"),
    Step(ROWS, "x = torch.cat([c.cumsum(0) for c in x.chunk({small})])"),
    Step(ROWS, "x = x * 2 if x.shape[0] <= {size} else x * 3"),
    Step(ROWS, "x = x + torch.cdist(x, x).mean(1, keepdim=True)"),
    Step(
        ROWS,
        "x = x[torch.cdist(x, self.centers{n}).argmin(1) % x.shape[0]]",
        "self.register_buffer('centers{n}', torch.randn(5, 6))",
    ),
    Step(ROWS, "for k in range(min(x.shape[0], {small})):\n    x = x + x[k]"),
    Step(ROWS, "x = x.flip(0) + x.roll(1, 0)"),
    Step(ROWS, "x = x - x.sort(0).values"),
    Step(ROWS, "x = (x @ x.t()).softmax(-1) @ x"),
]
