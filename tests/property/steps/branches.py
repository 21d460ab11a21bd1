"""Branches on sizes and on values."""

from __future__ import annotations

from tests.property.steps.base import FLOATS, IMAGE, SERIES, Step

BRANCHES = [
    Step(FLOATS, "if x.mean() > {number}:\n    x = x * 2\nelse:\n    x = x - 1", decides=True),
    Step(FLOATS, "if (x > {bound}).any():\n    x = x.clamp(max={bound})", decides=True),
    Step(FLOATS, "x = torch.where((x > 0).all(), x.sqrt(), x * {number})"),
    Step(SERIES, "x = x * 2 if x.shape[1] <= {size} else x * 3"),
    Step(SERIES, "if x.shape[1] % 2:\n    x = F.pad(x, (0, 0, 0, 1))\n", gives="steps"),
    Step(SERIES, "x = x[:, : {size}]", gives="steps"),
    Step(IMAGE, "x = F.interpolate(x, scale_factor=2) if x.shape[-1] < {size} else x"),
]
