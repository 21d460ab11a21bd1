"""Operators that the exporters write for one size only, as operators that hold for every size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


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


def _adaptive_avg_pool(x: Tensor, output_size: Sequence[int]) -> Tensor:
    dims = len(output_size)
    for d, bins in enumerate(output_size):
        dim = x.dim() - dims + d
        weights = adaptive_average(x.shape[dim], bins, x)
        x = (x.transpose(dim, -1) @ weights.transpose(0, 1)).transpose(dim, -1)
    return x


_POOLS: dict[Any, Callable[..., Tensor]] = {
    torch.ops.aten.adaptive_avg_pool1d.default: _adaptive_avg_pool,
    torch.ops.aten.adaptive_avg_pool2d.default: _adaptive_avg_pool,
    torch.ops.aten.adaptive_avg_pool3d.default: _adaptive_avg_pool,
}


def for_every_size(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Replace what would be baked in at the traced size; a program without such operators comes back as it is.

    The exporter unrolls adaptive pooling of a dynamic size into slices of the size that was traced, without an error.
    """
    wanted = {
        node.target: _POOLS[node.target]
        for node in program.graph.nodes
        if node.op == "call_function" and node.target in _POOLS and _varies(node)
    }
    return program.run_decompositions(wanted) if wanted else program


def _varies(node: Any) -> bool:
    """Tell whether a pool's input has a symbolic size and its output more than one bin."""
    source, bins = node.args[0].meta["val"], node.args[1]
    pooled = source.shape[-len(bins) :]
    return any(isinstance(s, torch.SymInt) and b != 1 for s, b in zip(pooled, bins, strict=True))
