"""TODO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lightning_onnx.tracing.rules.needs import is_complex


def roll(x: Tensor, shifts: Sequence[Any], dims: Sequence[int] = ()) -> Tensor:
    if not dims:
        return roll(x.flatten(), shifts, [0]).view(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        start = -shift % x.shape[dim]
        x = torch.cat([x.narrow(dim, start, x.shape[dim] - start), x.narrow(dim, 0, start)], dim)
    return x


def squeeze(x: Tensor, dim: int) -> Any:
    """Leave a dim that is not 1, which torch does and ONNX does not."""
    size = x.shape[dim] if x.dim() else 1
    return x.clone() if isinstance(size, int) and size != 1 else NotImplemented


def unfolded(
    x: Tensor, kernel: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> Tensor:
    """See the formula in the documentation of ``torch.nn.Unfold``; the exporter's holds for the traced size."""
    x = functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    number = [(n - r - 1) // s + 1 for n, r, s in zip(x.shape[-2:], reach, stride, strict=True)]
    end = [(n - 1) * s + 1 for n, s in zip(number, stride, strict=True)]
    parts = []
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            parts.append(x[..., top : top + end[0] : stride[0], left : left + end[1] : stride[1]])
    return torch.stack(parts, -3).flatten(-2).flatten(-3, -2)


def scatter_mean(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    if reduce != "mean" or not x.is_floating_point():
        return NotImplemented  # type: ignore[no-any-return]
    number = torch.zeros_like(x).scatter_add(dim, index, torch.ones_like(source)) + float(include_self)
    total = (x if include_self else torch.zeros_like(x)).scatter_add(dim, index, source)
    return torch.where(number == 0, x, total / number.clamp(min=1))


def index_reduce(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    shape = [-1 if d == dim % x.dim() else 1 for d in range(x.dim())]
    return x.scatter_reduce(dim, index.view(shape).expand(source.shape), source, reduce, include_self=include_self)


def is_mean(node: Any) -> bool:
    return bool(node.args[4] == "mean")


def rolls(node: Any) -> bool:
    """Tell whether the exporter's form, of numbers and real tensors, does not do."""
    shifts = node.args[1] if isinstance(node.args[1], (list, tuple)) else [node.args[1]]
    return is_complex(node) or not all(isinstance(s, int) for s in shifts)


def is_not_one(node: Any) -> bool:
    shape = node.args[0].meta["val"].shape
    return len(shape) > 0 and isinstance(shape[node.args[1]], int) and shape[node.args[1]] != 1


def has_symbols(node: Any) -> bool:
    return any(isinstance(n, torch.SymInt) for n in node.args[0].meta["val"].shape[-2:])
