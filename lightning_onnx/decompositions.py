"""Operators that the exporter writes for one size only or not at all, as operators that hold for every size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lightning_onnx import arithmetic, linalg, special


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


def _squeeze(x: Tensor, dim: int) -> Any:
    """Leave a dim that is not 1, which torch does and ONNX does not."""
    size = x.shape[dim] if x.dim() else 1
    return x.clone() if isinstance(size, int) and size != 1 else NotImplemented


def _kth_value(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, ...]:
    found = tuple(part.narrow(dim, k - 1, 1) for part in torch.sort(x, dim))
    return found if keepdim else tuple(f.squeeze(dim) for f in found)


def _sort_stable(x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """Sort: ONNX puts the first of equal values first, which is stable."""
    return torch.sort(x, dim, descending)


def _argsort_stable(x: Tensor, *, stable: bool = True, dim: int = -1, descending: bool = False) -> Tensor:
    return torch.sort(x, dim, descending)[1]


def _unfolded(
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


def _cdist(a: Tensor, b: Tensor, p: float = 2.0, compute_mode: int | None = None) -> Tensor:
    """Compute as torch does: above 25 rows by a product of matrices, which needs no memory by the product of all sizes.

    See ``cdist_impl`` in torch's ``Distance.cpp``; 1 and 2 as ``compute_mode`` are always and never.
    """
    many = any(isinstance(n, int) and n > 25 for n in (a.shape[-2], b.shape[-2]))
    if p == 2 and (compute_mode == 1 or (not compute_mode and many)):
        squares = [t.square().sum(-1, keepdim=True) for t in (a, b)]
        left = torch.cat([a * -2, squares[0], torch.ones_like(squares[0])], -1)
        return (left @ torch.cat([b, torch.ones_like(squares[1]), squares[1]], -1).mT).clamp(min=0).sqrt()
    difference = (a.unsqueeze(-2) - b.unsqueeze(-3)).abs()
    if p == 2:
        return difference.square().sum(-1).sqrt()
    if p == float("inf"):
        return difference.amax(-1)
    return (difference != 0).to(a.dtype).sum(-1) if p == 0 else difference.pow(p).sum(-1).pow(1 / p)


def _scatter_mean(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    if reduce != "mean" or not x.is_floating_point():
        return NotImplemented  # type: ignore[no-any-return]
    number = torch.zeros_like(x).scatter_add(dim, index, torch.ones_like(source)) + float(include_self)
    total = (x if include_self else torch.zeros_like(x)).scatter_add(dim, index, source)
    return torch.where(number == 0, x, total / number.clamp(min=1))


def _index_reduce(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    shape = [-1 if d == dim % x.dim() else 1 for d in range(x.dim())]
    return x.scatter_reduce(dim, index.view(shape).expand(source.shape), source, reduce, include_self=include_self)


def _median_of_all(x: Tensor) -> Tensor:
    return _median(x.flatten(), 0)[0]


def _nan_median(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, ...]:
    if not x.is_floating_point():
        return _median(x, dim, keepdim)
    values, order = torch.sort(torch.where(x.isnan(), float("inf"), x), dim)
    number = (~x.isnan()).sum(dim, keepdim=True)
    middle = (number - 1).clamp(min=0) // 2
    found = torch.where(number == 0, float("nan"), values.gather(dim, middle)), order.gather(dim, middle)
    return found if keepdim else tuple(f.squeeze(dim) for f in found)


def _cumulative(function: Any, lowest: float) -> Callable[..., Any]:
    """Reduce over each beginning, which takes memory by the square of the size; the last of equal values counts."""

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


def _smoothed_cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """See the formula in the documentation of ``CrossEntropyLoss``, for targets that are numbers of classes."""
    if not label_smoothing or weight is not None or target.is_floating_point():
        return NotImplemented  # type: ignore[no-any-return]
    dim = min(x.dim() - 1, 1)
    logs = functional.log_softmax(x, dim)
    kept = target != ignore_index
    chosen = logs.gather(dim, torch.where(kept, target, 0).unsqueeze(dim)).squeeze(dim)
    loss = torch.where(kept, -((1 - label_smoothing) * chosen + label_smoothing * logs.mean(dim)), 0.0)
    return loss if reduction == 0 else loss.sum() if reduction == 2 else loss.sum() / kept.sum()


def _copy_sign(x: Tensor, sign: Tensor) -> Tensor:
    size = x.abs() if x.is_floating_point() else x.abs().to(torch.get_default_dtype())
    return torch.where(sign < 0, -size, size)


def _hypot(a: Tensor, b: Tensor) -> Tensor:
    """Scale first, so that the squares of large numbers are numbers."""
    larger = torch.maximum(a.abs(), b.abs())
    by = torch.where((larger == 0) | larger.isinf(), 1.0, larger)
    return torch.where(larger.isinf(), larger, by * ((a / by).square() + (b / by).square()).sqrt())


def _of_numbers(function: Any) -> Callable[..., Any]:
    """The other one where one is NaN."""
    return lambda a, b: torch.where(a.isnan(), b, torch.where(b.isnan(), a, function(a, b)))


def _cholesky_solve(b: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    lower = factor.mT if upper else factor
    half = linalg.solve_triangular(lower, b, upper=False)
    return linalg.solve_triangular(lower.mT, half, upper=True)


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
    """Tell whether no kernel of one size does: the input has a symbolic size, or one that is no multiple."""
    source, bins = node.args[0].meta["val"], node.args[1]
    pooled = source.shape[-len(bins) :]
    uneven = any(isinstance(s, int) and s % b for s, b in zip(pooled, bins, strict=True))
    return (_varies(node) or uneven) and not any(  # of any, because a rule is for all calls of an operator
        user.args[1] == 1 and user.users for n in node.graph.nodes if n.target is node.target for user in n.users
    )


def _is_unusual_attention(node: Any) -> bool:
    return node.args[0].meta["val"].dim() != 4 or bool(node.kwargs.get("enable_gqa"))


def _is_mean(node: Any) -> bool:
    return bool(node.args[4] == "mean")


def _is_smoothed(node: Any) -> bool:
    return len(node.args) > 5 and bool(node.args[5])


def _is_complex(node: Any) -> bool:
    value = node.args[0].meta["val"] if hasattr(node.args[0], "meta") else None
    return isinstance(value, Tensor) and value.is_complex()


def _rolls(node: Any) -> bool:
    """Tell whether the exporter's form, of numbers and real tensors, does not do."""
    shifts = node.args[1] if isinstance(node.args[1], (list, tuple)) else [node.args[1]]
    return _is_complex(node) or not all(isinstance(s, int) for s in shifts)


def _is_not_one(node: Any) -> bool:
    shape = node.args[0].meta["val"].shape
    return len(shape) > 0 and isinstance(shape[node.args[1]], int) and shape[node.args[1]] != 1


def _has_symbols(node: Any) -> bool:
    return any(isinstance(n, torch.SymInt) for n in node.args[0].meta["val"].shape[-2:])


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
    aten.squeeze.dim: (_is_not_one, _squeeze),
    aten.im2col.default: (_has_symbols, _unfolded),
    aten.kthvalue.default: (_always, _kth_value),
    aten.sort.stable: (_always, _sort_stable),
    aten.argsort.stable: (_always, _argsort_stable),
    aten.searchsorted.Tensor: (_always, _search_sorted),
    aten.median.dim: (_always, _median),
    aten.cumprod.default: (_always, _cumprod),
    aten.cummax.default: (_always, _cumulative(torch.amax, float("-inf"))),
    aten.cummin.default: (_always, _cumulative(torch.amin, float("inf"))),
    aten.median.default: (_always, _median_of_all),
    aten.nanmedian.dim: (_always, _nan_median),
    aten.cdist.default: (_always, _cdist),
    aten._cdist_forward.default: (_always, _cdist),
    aten.scatter_reduce.two: (_is_mean, _scatter_mean),
    aten.index_reduce.default: (_always, _index_reduce),
    aten.cross_entropy_loss.default: (_is_smoothed, _smoothed_cross_entropy),
    aten.hypot.default: (_always, _hypot),
    aten.copysign.Tensor: (_always, _copy_sign),
    aten.fmax.default: (_always, _of_numbers(torch.maximum)),
    aten.fmin.default: (_always, _of_numbers(torch.minimum)),
    aten.lgamma.default: (_always, special.lgamma),
    aten.digamma.default: (_always, special.digamma),
    aten.erfinv.default: (_always, special.erfinv),
    aten.add.Tensor: (arithmetic.are_boolean, arithmetic.add),
    aten.mul.Tensor: (arithmetic.are_boolean, arithmetic.multiply),
    aten.rsub.Scalar: (arithmetic.from_a_float, arithmetic.subtract_from),
    aten.where.self: (arithmetic.chooses_booleans, arithmetic.choose),
    aten.where.Scalar: (arithmetic.chooses_booleans, arithmetic.choose),
    aten.where.ScalarSelf: (arithmetic.chooses_booleans, arithmetic.choose),
    aten.where.ScalarOther: (arithmetic.chooses_booleans, arithmetic.choose),
    aten.masked_fill.Scalar: (arithmetic.is_boolean, arithmetic.fill),
    aten.masked_fill.Tensor: (arithmetic.is_boolean, arithmetic.fill),
    aten.index.Tensor: (arithmetic.by_short_numbers, arithmetic.index),
    aten.softmax.int: (arithmetic.of_whole_numbers, arithmetic.softmax),
    aten.mean.default: (arithmetic.of_whole_numbers, arithmetic.mean),
    aten.mean.dim: (arithmetic.of_whole_numbers, arithmetic.mean),
    aten.zeros_like.default: (_is_complex, _by_parts(aten.zeros_like.default)),
    aten.unsqueeze.default: (_is_complex, _by_parts(aten.unsqueeze.default)),
    aten.expand.default: (_is_complex, _by_parts(aten.expand.default)),
    aten.alias.default: (_is_complex, _by_parts(aten.alias.default)),
    aten.index_select.default: (_is_complex, _by_parts(aten.index_select.default)),
    aten.constant_pad_nd.default: (_is_complex, _by_parts(aten.constant_pad_nd.default)),
}
"""By operator: when it needs a rule, and the rule."""

_OF_INPUTS: dict[Any, tuple[Callable[[Any], bool], Callable[..., Any]]] = {
    aten.inverse.default: (linalg.is_small, linalg.inverse),
    aten.linalg_inv.default: (linalg.is_small, linalg.inverse),
    aten.linalg_solve.default: (linalg.is_small, linalg.solve),
    aten.linalg_cholesky.default: (linalg.is_small, linalg.cholesky),
    aten.linalg_solve_triangular.default: (linalg.is_small, linalg.solve_triangular),
    aten.cholesky_solve.default: (lambda node: linalg.is_small(node, 1), _cholesky_solve),
    aten.linalg_slogdet.default: (linalg.is_small, linalg.slogdet),
    aten.slogdet.default: (linalg.is_small, linalg.slogdet),
}
"""The same for what is better computed once for each file, where it depends on weights alone."""

_ROUNDS = 3
"""A rule's result may hold operators that another rule is for."""


def for_every_size(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Replace what would be baked in at the traced size, and what the exporter lacks; else the program as it is.

    The exporter unrolls adaptive pooling of a dynamic size into slices of the size that was traced, without an error.
    """
    if any(map(_writes, program.graph.nodes)):
        program = program.run_decompositions({})  # rules are for operators that write nowhere
    for _ in range(_ROUNDS):
        varying = _of_inputs(program)
        rules = [(n, _RULES[n.target]) for n in program.graph.nodes if n.target in _RULES]
        rules += [(n, _OF_INPUTS[n.target]) for n in varying if n.target in _OF_INPUTS]
        wanted = {node.target: rule for node, (needed, rule) in rules if needed(node)}
        if not wanted:
            break
        program = program.run_decompositions(wanted)
    return program


def _writes(node: Any) -> bool:
    """Tell whether a node writes into a tensor, where a rule is for its form that does not, or must know who writes."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return False
    form = schema.name.removesuffix("_"), schema.overload_name
    rules = (needed for op, (needed, _) in _RULES.items() if (op._schema.name, op._schema.overload_name) == form)
    return any(needed(node) for needed in rules) or any(n.target in _OF_INPUTS for n in node.graph.nodes)


def _of_inputs(program: torch.export.ExportedProgram) -> set[Any]:
    """Return the nodes that depend on the inputs."""
    inputs = set(program.graph_signature.user_inputs)
    found: set[Any] = set()
    for node in program.graph.nodes:
        if node.name in inputs or any(n in found for n in node.all_input_nodes):
            found.add(node)
    return found
