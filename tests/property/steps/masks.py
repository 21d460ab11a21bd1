"""Sequences with a mask that may be all false."""

from __future__ import annotations

from tests.property.steps.base import SEQUENCE, Step

MASKS = [
    Step(SEQUENCE, "x = x.masked_fill(~mask.unsqueeze(-1), {number})", uses_mask=True),
    Step(
        SEQUENCE,
        "w = mask.unsqueeze(-1).float()\nx = (x * w).sum(1) / (w.sum(1) + {tiny})",
        gives="rows",
        uses_mask=True,
    ),
    Step(SEQUENCE, "x = F.scaled_dot_product_attention(x, x, x, attn_mask=mask.unsqueeze(1))", uses_mask=True),
    Step(
        SEQUENCE,
        "s = (x @ x.transpose(1, 2)).masked_fill(~mask.unsqueeze(1), float('-inf')).softmax(-1)\n"
        "x = s.nan_to_num(0.0) @ x",
        uses_mask=True,
    ),
    Step(
        SEQUENCE,
        "s = (x @ x.transpose(1, 2)).masked_fill(~mask.unsqueeze(1), -1e9).softmax(-1)\nx = s @ x",
        uses_mask=True,
    ),
    Step(
        SEQUENCE,
        "x = self.attention{n}(x, x, x, key_padding_mask=~mask)[0].nan_to_num(0.0)",
        "self.attention{n} = nn.MultiheadAttention(6, 2, batch_first=True)",
        uses_mask=True,
    ),
    Step(
        SEQUENCE,
        "last = (mask.sum(1) - 1).clamp(min=0)\nx = x[torch.arange(x.shape[0], device=x.device), last]",
        gives="rows",
        uses_mask=True,
    ),
    Step(
        SEQUENCE,
        "x = x.masked_fill(~mask.unsqueeze(-1), float('-inf')).amax(1).clamp(min=-10.0)",
        gives="rows",
        uses_mask=True,
    ),
    Step(SEQUENCE, "x = x if mask.all() else x * mask.unsqueeze(-1)", uses_mask=True),
]
