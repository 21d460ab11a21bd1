"""TODO."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


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
    """See the formula in the documentation of ``torch.nn.functional.scaled_dot_product_attention``."""
    if enable_gqa:
        key, value = (m.repeat_interleave(query.shape[-3] // m.shape[-3], -3) for m in (key, value))
    score = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        score = score.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else score + attn_mask
    return score.softmax(-1) @ value


def is_unusual_attention(node: Any) -> bool:
    return node.args[0].meta["val"].dim() != 4 or bool(node.kwargs.get("enable_gqa"))
