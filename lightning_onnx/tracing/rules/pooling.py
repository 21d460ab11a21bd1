"""Adaptive pooling of an input whose size is not known when the graph is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from lightning_onnx.tracing.rules.base import Call, Rule, aten, value


def adaptive_average(size: Any, bins: int, like: Tensor) -> Tensor:
    """Return the matrix that averages ``size`` entries into ``bins``, as adaptive average pooling does.

    Bin ``i`` covers the entries from ``floor(i * size / bins)`` up to ``ceil((i + 1) * size / bins)``, see
    ``at::native::start_index`` and ``end_index`` in torch's ``AdaptivePooling.h``.

    Args:
        size: Number of entries; may be symbolic.
        bins: Number of bins.
        like: A tensor whose dtype and device the matrix gets.

    Returns:
        A matrix of shape ``(bins, size)`` whose rows sum to 1.

    Example:
        >>> adaptive_average(4, 2, torch.zeros(1))
        tensor([[0.5000, 0.5000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.5000, 0.5000]])
    """
    place = torch.arange(size, device=like.device)
    bin_ = torch.arange(bins, device=like.device).unsqueeze(1)
    start = torch.div(bin_ * size, bins, rounding_mode="floor")
    end = torch.div((bin_ + 1) * size + bins - 1, bins, rounding_mode="floor")
    inside = ((place >= start) & (place < end)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def adaptive_avg_pool(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """Average one dim after the other by a matrix product."""
    dims = len(output_size)
    for d, bins in enumerate(output_size):
        dim = x.dim() - dims + d
        weights = adaptive_average(x.shape[dim], bins, x)
        x = (x.transpose(dim, -1) @ weights.transpose(0, 1)).transpose(dim, -1)
    return x


def adaptive_max_pool(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Take the largest of each bin, one dim after the other; the indices are not computed."""
    values = x
    for d, bins in enumerate(output_size):
        dim = x.dim() - len(output_size) + d
        inside = adaptive_average(values.shape[dim], bins, x) > 0
        spread = values.transpose(dim, -1).unsqueeze(-2)
        values = spread.masked_fill(~inside, float("-inf")).amax(-1).transpose(dim, -1)
    return values, torch.zeros_like(values, dtype=torch.int64)  # only if nothing reads the indices


def varies(call: Call) -> bool:
    """Tell whether a pool's input has a symbolic size and its output more than one bin."""
    source, bins = value(call.args[0]), value(call.args[1])
    pooled = source.shape[-len(bins) :]
    return any(isinstance(s, torch.SymInt) and b != 1 for s, b in zip(pooled, bins, strict=True))


def is_uneven(call: Call) -> bool:
    """Tell whether kernels of one size are not enough: the input's size is symbolic, or no multiple of the bins."""
    source, bins = value(call.args[0]), value(call.args[1])
    pooled = source.shape[-len(bins) :]
    return varies(call) or any(isinstance(s, int) and s % b for s, b in zip(pooled, bins, strict=True))


def is_without_indices(node: fx.Node) -> bool:
    """Tell whether nothing reads the indices of any such call, because the rule is for all of them."""
    return not any(
        user.args[1] == 1 and user.users for n in node.graph.nodes if n.target is node.target for user in n.users
    )


RULES = (
    Rule(
        (aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool3d.default),
        adaptive_avg_pool,
        "The exporter unrolls pooling of a free size into slices of the traced size, without an error.",
        varies,
    ),
    Rule(
        (aten.adaptive_max_pool1d.default, aten.adaptive_max_pool2d.default, aten.adaptive_max_pool3d.default),
        adaptive_max_pool,
        "The exporter takes no free size, and no size that is not a multiple of the bins.",
        is_uneven,
        is_without_indices,
    ),
)
