"""Operators that the exporter writes for one size only or not at all, as operators that hold for every size."""

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


def _adaptive_max_pool(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    values = x
    for d, bins in enumerate(output_size):
        dim = x.dim() - len(output_size) + d
        inside = adaptive_average(values.shape[dim], bins, x) > 0
        spread = values.transpose(dim, -1).unsqueeze(-2)
        values = spread.masked_fill(~inside, float("-inf")).amax(-1).transpose(dim, -1)
    return values, torch.zeros_like(values, dtype=torch.int64)  # only where nothing reads the indices


def _attention(
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


def _median(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, ...]:
    values, order = torch.sort(x, dim)
    middle = (x.shape[dim] - 1) // 2
    found = values.narrow(dim, middle, 1), order.narrow(dim, middle, 1)
    return found if keepdim else tuple(f.squeeze(dim) for f in found)


def _cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    size = x.abs().log().cumsum(dim).exp()
    negative = (x < 0).to(torch.int64).cumsum(dim) % 2
    return torch.where(negative == 1, -size, size)


def _roll(x: Tensor, shifts: Sequence[Any], dims: Sequence[int] = ()) -> Tensor:
    if not dims:
        return _roll(x.flatten(), shifts, [0]).view(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        start = -shift % x.shape[dim]
        x = torch.cat([x.narrow(dim, start, x.shape[dim] - start), x.narrow(dim, 0, start)], dim)
    return x


def _remainder(x: Tensor, other: Any) -> Tensor:
    return torch.remainder(x, torch.scalar_tensor(other, dtype=x.dtype))


def _kth_value(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, ...]:
    found = tuple(part.narrow(dim, k - 1, 1) for part in torch.sort(x, dim))
    return found if keepdim else tuple(f.squeeze(dim) for f in found)


def _search_sorted(
    boundaries: Tensor,
    x: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Count the boundaries below, which takes memory by the product of the sizes."""
    rows = boundaries if sorter is None else boundaries.gather(-1, sorter)
    rows = rows.view(*(1,) * (x.dim() - rows.dim()), *rows.shape) if rows.dim() == 1 else rows
    rows, values = rows.unsqueeze(-2), x.unsqueeze(-1)
    below = rows <= values if right or side == "right" else rows < values
    return below.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


def _by_parts(function: Any) -> Callable[..., Any]:
    """Run an operator that treats real and imaginary part alike on each of them."""

    def rule(z: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not z.is_complex():
            return NotImplemented
        kwargs.pop("dtype", None)
        return torch.complex(function(torch.real(z), *args, **kwargs), function(torch.imag(z), *args, **kwargs))

    return rule


def _varies(node: Any) -> bool:
    """Tell whether a pool's input has a symbolic size and its output more than one bin."""
    source, bins = node.args[0].meta["val"], node.args[1]
    pooled = source.shape[-len(bins) :]
    return any(isinstance(s, torch.SymInt) and b != 1 for s, b in zip(pooled, bins, strict=True))


def _varies_without_indices(node: Any) -> bool:
    return _varies(node) and not any(user.args[1] == 1 and user.users for user in node.users)


def _is_unusual_attention(node: Any) -> bool:
    return node.args[0].meta["val"].dim() != 4 or bool(node.kwargs.get("enable_gqa"))


def _is_complex(node: Any) -> bool:
    value = node.args[0].meta["val"] if hasattr(node.args[0], "meta") else None
    return isinstance(value, Tensor) and value.is_complex()


def _rolls(node: Any) -> bool:
    """Tell whether the exporter's form, of numbers and real tensors, does not do."""
    shifts = node.args[1] if isinstance(node.args[1], (list, tuple)) else [node.args[1]]
    return _is_complex(node) or not all(isinstance(s, int) for s in shifts)


def _by_size(node: Any) -> bool:
    return not isinstance(node.args[1], (int, float))


def _always(node: Any) -> bool:
    return True


aten = torch.ops.aten
_RULES: dict[Any, tuple[Callable[[Any], bool], Callable[..., Any]]] = {
    aten.adaptive_avg_pool1d.default: (_varies, _adaptive_avg_pool),
    aten.adaptive_avg_pool2d.default: (_varies, _adaptive_avg_pool),
    aten.adaptive_avg_pool3d.default: (_varies, _adaptive_avg_pool),
    aten.adaptive_max_pool1d.default: (_varies_without_indices, _adaptive_max_pool),
    aten.adaptive_max_pool2d.default: (_varies_without_indices, _adaptive_max_pool),
    aten.adaptive_max_pool3d.default: (_varies_without_indices, _adaptive_max_pool),
    aten.scaled_dot_product_attention.default: (_is_unusual_attention, _attention),
    aten.roll.default: (_rolls, _roll),
    aten.remainder.Scalar: (_by_size, _remainder),
    aten.kthvalue.default: (_always, _kth_value),
    aten.searchsorted.Tensor: (_always, _search_sorted),
    aten.median.dim: (_always, _median),
    aten.cumprod.default: (_always, _cumprod),
    aten.zeros_like.default: (_is_complex, _by_parts(aten.zeros_like.default)),
    aten.unsqueeze.default: (_is_complex, _by_parts(aten.unsqueeze.default)),
    aten.expand.default: (_is_complex, _by_parts(aten.expand.default)),
    aten.alias.default: (_is_complex, _by_parts(aten.alias.default)),
    aten.index_select.default: (_is_complex, _by_parts(aten.index_select.default)),
    aten.constant_pad_nd.default: (_is_complex, _by_parts(aten.constant_pad_nd.default)),
}
"""By operator: when it needs a rule, and the rule."""

_ROUNDS = 3
"""A rule's result may hold operators that another rule is for."""


def for_every_size(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Replace what would be baked in at the traced size, and what the exporter lacks; else the program as it is.

    The exporter unrolls adaptive pooling of a dynamic size into slices of the size that was traced, without an error.
    """
    for _ in range(_ROUNDS):
        calls = [node for node in program.graph.nodes if node.op == "call_function" and node.target in _RULES]
        wanted = {node.target: _RULES[node.target][1] for node in calls if _RULES[node.target][0](node)}
        if not wanted:
            break
        program = program.run_decompositions(wanted)
    return program
