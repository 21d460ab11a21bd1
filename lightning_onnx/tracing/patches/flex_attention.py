"""Flex attention as matrix products, for which ONNX has operators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def by_scores(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Callable[..., Tensor],
    block_mask: tuple[Any, ...],
    scale: float,
    kernel_options: dict[str, Any],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what torch's operator does: the output, and the logarithm of the sum and the maximum, to the base 2.

    The functions of the user get all places at once, in four tensors that broadcast, instead of one place at a time.
    The parameters have torch's names.

    Args:
        query: ``[batch, heads, queries, width]``.
        key: ``[batch or 1, key heads, keys, width]``.
        value: ``[batch or 1, key heads, keys, value width]``.
        score_mod: Changes the scores of ``(score, batch, head, query, key)``.
        block_mask: Blocks, of which only the function that hides scores is used: the last entry.
        scale: Factor of the scores.
        kernel_options: Not used.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query.to(torch.promote_types(query.dtype, torch.float32)) @ key.to(query.dtype).mT * scale
    places = [
        torch.arange(n, device=query.device).view([-1 if d == dim else 1 for d in range(4)])
        for dim, n in enumerate(scores.shape)
    ]
    shape = scores.shape
    scores = torch.where(block_mask[-1](*places), score_mod(scores, *places), -math.inf).expand(shape)
    hides_all = (scores == -math.inf).all(-1, keepdim=True)
    shares = torch.where(hides_all, 0.0, torch.where(hides_all, 0.0, scores).softmax(-1))
    sums = torch.where(hides_all, -math.inf, torch.where(hides_all, 0.0, scores).logsumexp(-1, keepdim=True))
    output = shares.to(query.dtype) @ value.to(query.dtype)
    return output, sums.squeeze(-1) / math.log(2), scores.amax(-1) / math.log(2)
