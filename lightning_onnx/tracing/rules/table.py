"""Operators that the exporter writes for one size only or not at all, as operators that hold for every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lightning_onnx.tracing.rules import (
    attention,
    booleans_integers,
    indexing,
    linalg,
    needs,
    pooling,
    sorting,
    special,
)


def _remainder(x: Tensor, other: Any) -> Tensor:
    return torch.remainder(x, torch.scalar_tensor(other, dtype=x.dtype))


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


def _is_smoothed(node: Any) -> bool:
    return len(node.args) > 5 and bool(node.args[5])


aten = torch.ops.aten
_RULES: dict[Any, tuple[Callable[[Any], bool], Callable[..., Any]]] = {
    aten.adaptive_avg_pool1d.default: (pooling.varies, pooling.adaptive_avg_pool),
    aten.adaptive_avg_pool2d.default: (pooling.varies, pooling.adaptive_avg_pool),
    aten.adaptive_avg_pool3d.default: (pooling.varies, pooling.adaptive_avg_pool),
    aten.adaptive_max_pool1d.default: (pooling.varies_without_indices, pooling.adaptive_max_pool),
    aten.adaptive_max_pool2d.default: (pooling.varies_without_indices, pooling.adaptive_max_pool),
    aten.adaptive_max_pool3d.default: (pooling.varies_without_indices, pooling.adaptive_max_pool),
    aten.scaled_dot_product_attention.default: (attention.is_unusual_attention, attention.attention),
    aten.roll.default: (indexing.rolls, indexing.roll),
    aten.remainder.Scalar: (needs.by_size, _remainder),
    aten.squeeze.dim: (indexing.is_not_one, indexing.squeeze),
    aten.im2col.default: (indexing.has_symbols, indexing.unfolded),
    aten.kthvalue.default: (needs.always, sorting.kth_value),
    aten.sort.stable: (needs.always, sorting.sort_stable),
    aten.argsort.stable: (needs.always, sorting.argsort_stable),
    aten.searchsorted.Tensor: (needs.always, sorting.search_sorted),
    aten.median.dim: (needs.always, sorting.median),
    aten.cumprod.default: (needs.always, sorting.cumprod),
    aten.cummax.default: (needs.always, sorting.cumulative(torch.amax, float("-inf"))),
    aten.cummin.default: (needs.always, sorting.cumulative(torch.amin, float("inf"))),
    aten.median.default: (needs.always, sorting.median_of_all),
    aten.nanmedian.dim: (needs.always, sorting.nan_median),
    aten.cdist.default: (needs.always, _cdist),
    aten._cdist_forward.default: (needs.always, _cdist),
    aten.scatter_reduce.two: (indexing.is_mean, indexing.scatter_mean),
    aten.index_reduce.default: (needs.always, indexing.index_reduce),
    aten.cross_entropy_loss.default: (_is_smoothed, _smoothed_cross_entropy),
    aten.hypot.default: (needs.always, _hypot),
    aten.copysign.Tensor: (needs.always, _copy_sign),
    aten.fmax.default: (needs.always, _of_numbers(torch.maximum)),
    aten.fmin.default: (needs.always, _of_numbers(torch.minimum)),
    aten.lgamma.default: (needs.always, special.lgamma),
    aten.digamma.default: (needs.always, special.digamma),
    aten.erfinv.default: (needs.always, special.erfinv),
    aten.add.Tensor: (booleans_integers.are_boolean, booleans_integers.add),
    aten.mul.Tensor: (booleans_integers.are_boolean, booleans_integers.multiply),
    aten.rsub.Scalar: (booleans_integers.from_a_float, booleans_integers.subtract_from),
    aten.where.self: (booleans_integers.chooses_booleans, booleans_integers.choose),
    aten.where.Scalar: (booleans_integers.chooses_booleans, booleans_integers.choose),
    aten.where.ScalarSelf: (booleans_integers.chooses_booleans, booleans_integers.choose),
    aten.where.ScalarOther: (booleans_integers.chooses_booleans, booleans_integers.choose),
    aten.masked_fill.Scalar: (booleans_integers.is_boolean, booleans_integers.fill),
    aten.masked_fill.Tensor: (booleans_integers.is_boolean, booleans_integers.fill),
    aten.index.Tensor: (booleans_integers.by_short_numbers, booleans_integers.index),
    aten.softmax.int: (booleans_integers.of_whole_numbers, booleans_integers.softmax),
    aten.mean.default: (booleans_integers.of_whole_numbers, booleans_integers.mean),
    aten.mean.dim: (booleans_integers.of_whole_numbers, booleans_integers.mean),
    aten.zeros_like.default: (needs.is_complex, _by_parts(aten.zeros_like.default)),
    aten.unsqueeze.default: (needs.is_complex, _by_parts(aten.unsqueeze.default)),
    aten.expand.default: (needs.is_complex, _by_parts(aten.expand.default)),
    aten.alias.default: (needs.is_complex, _by_parts(aten.alias.default)),
    aten.index_select.default: (needs.is_complex, _by_parts(aten.index_select.default)),
    aten.constant_pad_nd.default: (needs.is_complex, _by_parts(aten.constant_pad_nd.default)),
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
