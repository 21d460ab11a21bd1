"""Integer arithmetic, and ways from integers to floats."""

from __future__ import annotations

from tests.property.steps.base import INTEGERS, Step

WHOLE_NUMBERS = [
    Step(INTEGERS, "x = x // {small}"),
    Step(INTEGERS, "x = x % 5 - x"),
    Step(INTEGERS, "x = torch.div(x, {small}, rounding_mode='trunc')"),
    Step(INTEGERS, "x = torch.remainder(x, -{small})"),
    Step(INTEGERS, "x = torch.fmod(x, {small}) + x"),
    Step(INTEGERS, "x = (x << 1) ^ (x & 3)"),
    Step(INTEGERS, "x = x >> 1"),
    Step(INTEGERS, "x = x.abs().clamp(max=7) * x.sign()"),
    Step(INTEGERS, "x = x.sort(dim=-1, stable=True).values.cumsum(-1)"),
    Step(INTEGERS, "x = torch.where(x > 2, x, -x)"),
    Step(INTEGERS, "x = torch.maximum(x, x.flip(-1)) + x.argmax(-1, keepdim=True)"),
    Step(
        INTEGERS, "x = self.table{n}(x.remainder(9))\nx = x.mean(1)", "self.table{n} = nn.Embedding(9, 6)", gives="rows"
    ),
    Step(INTEGERS, "x = F.one_hot(x.clamp(0, 5), 6).float().sum(1)", gives="rows"),
    Step(INTEGERS, "x = x.float() / {small}", gives="rows"),
]
