"""Operators that sort, rank or accumulate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_onnx.tracing.rules.base import Call, Rule, aten, is_integer, value


def median(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, ...]:
    """Return the lower of the two in the middle, and its index."""
    values, order = torch.sort(x, dim)
    middle = (x.shape[dim] - 1) // 2
    found = values.narrow(dim, middle, 1), order.narrow(dim, middle, 1)
    return found if keepdim else tuple(f.squeeze(dim) for f in found)


def cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Any:
    """Multiply by adding logarithms; signs are handled separately. Products of integers are exact up to about 1e13."""
    dtype = dtype or (torch.int64 if is_integer(x) else x.dtype)
    if dtype.is_complex:
        return NotImplemented
    if not dtype.is_floating_point:
        return cumprod(x.to(dtype).double(), dim).round().to(dtype)
    x = x.to(dtype)
    size = x.abs().log().cumsum(dim).exp()
    negative = (x < 0).to(torch.int64).cumsum(dim) % 2
    return torch.where(negative == 1, -size, size)


def kth_value(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, ...]:
    """Sort and take one."""
    found = tuple(part.narrow(dim, k - 1, 1) for part in torch.sort(x, dim))
    return found if keepdim else tuple(f.squeeze(dim) for f in found)


def sort_stable(x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """Sort; onnxruntime puts the first of equal values first, which is stable."""
    return torch.sort(x, dim, descending)


def argsort_stable(x: Tensor, *, stable: bool = True, dim: int = -1, descending: bool = False) -> Tensor:
    """Return the order of ``sort_stable``."""
    return torch.sort(x, dim, descending)[1]


def search_sorted(
    boundaries: Tensor,
    x: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Count the boundaries below each value, which needs memory for each pair."""
    rows = boundaries if sorter is None else boundaries.gather(-1, sorter)
    rows = rows.view(*(1,) * (x.dim() - rows.dim()), *rows.shape) if rows.dim() == 1 else rows
    rows, values = rows.unsqueeze(-2), x.unsqueeze(-1)
    below = rows <= values if right or side == "right" else rows < values
    return below.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


def median_of_all(x: Tensor) -> Tensor:
    """Return the lower of the two in the middle of all elements."""
    return median(x.flatten(), 0)[0]


def amax(x: Tensor, dim: Sequence[int] = (), keepdim: bool = False) -> object:
    """Name all dims where a call names none."""
    return NotImplemented if dim or not x.dim() else torch.amax(x, tuple(range(x.dim())), keepdim)


def names_no_dim(call: Call) -> bool:
    """Tell whether the maximum is over all dims because the call names none."""
    found = value(call.args[0])
    return isinstance(found, Tensor) and found.dim() > 0 and not (call.args[1:2] and call.args[1])


def nan_median(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, ...]:
    """Return the median of the elements that are not NaN."""
    if not x.is_floating_point():
        return median(x, dim, keepdim)
    values, order = torch.sort(torch.where(x.isnan(), float("inf"), x), dim)
    number = (~x.isnan()).sum(dim, keepdim=True)
    middle = (number - 1).clamp(min=0) // 2
    found = torch.where(number == 0, float("nan"), values.gather(dim, middle)), order.gather(dim, middle)
    return found if keepdim else tuple(f.squeeze(dim) for f in found)


def mode(x: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """Return the least of the most frequent elements, and its last index; memory grows with the square of the size."""
    if not x.dim() or x.dtype == torch.bool:
        return NotImplemented
    rows = x.transpose(dim, -1)
    counts = (rows.unsqueeze(-1) == rows.unsqueeze(-2)).sum(-1)
    values, order = torch.sort(rows, -1)
    most = (counts == counts.amax(-1, keepdim=True)).gather(-1, order)
    chosen = values.gather(-1, most.long().argmax(-1, keepdim=True))
    place = torch.arange(rows.shape[-1], device=x.device)
    last = torch.where(rows == chosen, place, -1).amax(-1, keepdim=True)
    found = chosen.transpose(dim, -1), last.transpose(dim, -1)
    return found if keepdim else tuple(f.squeeze(dim) for f in found)


def log_cumsum_exp(x: Tensor, dim: int) -> Tensor:
    """Return ``logsumexp`` of every prefix; memory grows with the square of the size."""
    rows = x.transpose(dim, -1) if x.dim() else x.unsqueeze(0)
    place = torch.arange(rows.shape[-1], device=x.device)
    prefixes = torch.where(place <= place.unsqueeze(-1), rows.unsqueeze(-2), float("-inf"))
    found = torch.logsumexp(prefixes, -1)
    return found.transpose(dim, -1) if x.dim() else found.squeeze(0)


def cumulative(function: Any, lowest: float) -> Callable[..., Any]:
    """Reduce over every prefix; memory grows with the square of the size. The last of equal values counts."""

    def rule(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        rows = x.transpose(dim, -1)
        place = torch.arange(rows.shape[-1], device=x.device)
        before = place <= place.unsqueeze(-1)
        least = lowest if x.is_floating_point() else getattr(torch.iinfo(x.dtype), "min" if lowest < 0 else "max")
        values = function(torch.where(before, rows.unsqueeze(-2), torch.full((), least, dtype=x.dtype)), -1)
        equal = before & (rows.unsqueeze(-2) == values.unsqueeze(-1))
        indices = torch.where(equal, place, -1).amax(-1)
        return values.transpose(dim, -1), indices.transpose(dim, -1)

    return rule


RULES = (
    Rule((aten.kthvalue.default,), kth_value, "The exporter has no translation."),
    Rule((aten.sort.stable,), sort_stable, "The exporter has a translation for the other overload only."),
    Rule((aten.argsort.stable,), argsort_stable, "As for sort."),
    Rule((aten.searchsorted.Tensor,), search_sorted, "The exporter has no translation."),
    Rule((aten.median.dim,), median, "The exporter has no translation."),
    Rule((aten.median.default,), median_of_all, "The exporter has no translation."),
    Rule((aten.amax.default,), amax, "The exporter's translation requires dims.", names_no_dim),
    Rule((aten.nanmedian.dim,), nan_median, "The exporter has no translation."),
    Rule((aten.mode.default,), mode, "The exporter has no translation."),
    Rule((aten.cumprod.default,), cumprod, "The exporter has no translation."),
    Rule((aten.cummax.default,), cumulative(torch.amax, float("-inf")), "The exporter has no translation."),
    Rule((aten.cummin.default,), cumulative(torch.amin, float("inf")), "The exporter has no translation."),
    Rule((aten.logcumsumexp.default,), log_cumsum_exp, "The exporter sums exponentials, infinite above 88."),
)
