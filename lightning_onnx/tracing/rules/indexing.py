"""Reading and writing by index: rolls, scatters, masks, windows, and a squeeze of a dim that is not 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lightning_onnx.tracing.rules.base import Call, Rule, aten, value
from lightning_onnx.tracing.rules.elementwise import is_complex


def roll(x: Tensor, shifts: Sequence[Any], dims: Sequence[int] = ()) -> Tensor:
    """Put the end before the beginning, dim by dim."""
    if not dims:
        return roll(x.flatten(), shifts, [0]).view(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        start = -shift % x.shape[dim]
        x = torch.cat([x.narrow(dim, start, x.shape[dim] - start), x.narrow(dim, 0, start)], dim)
    return x


def squeeze(x: Tensor, dim: int) -> Any:
    """In torch, squeezing a dim whose size is not 1 does nothing; ONNX rejects it."""
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
    """Divide a sum by the number of its terms."""
    if reduce != "mean" or not x.is_floating_point():
        return NotImplemented  # type: ignore[no-any-return]
    number = torch.zeros_like(x).scatter_add(dim, index, torch.ones_like(source)) + float(include_self)
    total = (x if include_self else torch.zeros_like(x)).scatter_add(dim, index, source)
    return torch.where(number == 0, x, total / number.clamp(min=1))


def index_reduce(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Reduce by ``scatter_reduce``, whose index has the shape of the source."""
    shape = [-1 if d == dim % x.dim() else 1 for d in range(x.dim())]
    return x.scatter_reduce(dim, index.view(shape).expand(source.shape), source, reduce, include_self=include_self)


def put_by_mask(x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False) -> object:
    """Write where a mask of inner dims is true: one number by ``where``, others with the mask's dims first."""
    given = [(dim, index) for dim, index in enumerate(indices) if index is not None]
    if len(given) != 1 or not given[0][0] or given[0][1].dtype != torch.bool:
        return NotImplemented
    dim, mask = given[0]
    after = x.dim() - dim - mask.dim()
    if values.dim() == 0 and not accumulate:
        return torch.where(mask.view(*mask.shape, *[1] * after), values.to(x.dtype), x)
    inner = range(dim, dim + mask.dim())
    front = [*inner, *(d for d in range(x.dim()) if d not in inner)]
    missing = dim + 1 + after - values.dim()
    values = values.view([1] * missing + list(values.shape)).movedim(dim, 0)
    written = torch.ops.aten.index_put.default(x.permute(front), [mask], values, accumulate)
    return written.permute([front.index(d) for d in range(x.dim())])


def is_inner_mask(call: Call) -> bool:
    """Tell whether a mask selects among inner dims, as in ``x[:, mask] = values``."""
    found = [value(index) for index in call.args[1]]
    return found[0] is None and any(isinstance(index, Tensor) and index.dtype == torch.bool for index in found)


def is_mean(call: Call) -> bool:
    """Tell whether the reduction is a mean."""
    return bool(call.args[4] == "mean")


def rolls(call: Call) -> bool:
    """Tell whether the tensor is complex or a shift is not a constant."""
    shifts = call.args[1] if isinstance(call.args[1], (list, tuple)) else [call.args[1]]
    return is_complex(call) or not all(isinstance(s, int) for s in shifts)


def is_not_one(call: Call) -> bool:
    """Tell whether the dim is known not to be 1."""
    shape = value(call.args[0]).shape
    return len(shape) > 0 and isinstance(shape[call.args[1]], int) and shape[call.args[1]] != 1


def has_symbols(call: Call) -> bool:
    """Tell whether the image size is free."""
    return any(isinstance(n, torch.SymInt) for n in value(call.args[0]).shape[-2:])


RULES = (
    Rule((aten.roll.default,), roll, "The exporter takes real tensors and constant shifts only.", rolls),
    Rule((aten.squeeze.dim,), squeeze, "ONNX rejects a Squeeze of a dim that is not 1.", is_not_one),
    Rule((aten.im2col.default,), unfolded, "The exporter writes the windows of the traced size.", has_symbols),
    Rule((aten.scatter_reduce.two,), scatter_mean, "ONNX has no ScatterElements with a mean.", is_mean),
    Rule((aten.index_put.default,), put_by_mask, "The exporter takes a mask of the first dims only.", is_inner_mask),
    Rule((aten.index_reduce.default,), index_reduce, "The exporter has no translation."),
)
