"""Attention of unusual shapes, and of queries that may see nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_onnx.tracing.rules.base import Call, Rule, aten
from lightning_onnx.tracing.rules.base import value as value_of


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """See the formula in the documentation of ``torch.nn.functional.scaled_dot_product_attention``.

    A query whose row of the mask hides everything gets 0, as from torch's kernels.
    """
    if enable_gqa:
        key, value = (m.repeat_interleave(query.shape[-3] // m.shape[-3], -3) for m in (key, value))
    score = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if attn_mask is None:
        return score.softmax(-1) @ value
    if attn_mask.dtype == torch.bool:
        sees_nothing = ~attn_mask.any(-1, keepdim=True)
        score = score.masked_fill(~attn_mask, float("-inf"))
    else:
        sees_nothing = attn_mask.amax(-1, keepdim=True) == float("-inf")
        score = score + attn_mask
    return score.softmax(-1).masked_fill(sees_nothing, 0.0) @ value


def is_unusual_attention(call: Call) -> bool:
    """Tell whether a call has other than 4 dims, grouped heads, or a mask."""
    masked = len(call.args) > 3 and call.args[3] is not None
    return value_of(call.args[0]).dim() != 4 or bool(call.kwargs.get("enable_gqa")) or masked


RULES = (
    Rule(
        (aten.scaled_dot_product_attention.default,),
        attention,
        "The exporter takes 4 dims only, and gives NaN for a query that may see nothing, where torch gives 0.",
        is_unusual_attention,
    ),
)
