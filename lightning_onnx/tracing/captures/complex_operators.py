"""Run any operator on pairs in place of complex tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_onnx.tracing.captures.complex_pairs import Pair, is_pair
from lightning_onnx.tracing.captures.complex_rules import RULES

aten = torch.ops.aten


def run(target: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    """Run an operator on pairs, and on anything from which it would make a complex tensor.

    Args:
        target: The operator.
        args: Its arguments; complex tensors among them are pairs.
        kwargs: Its keyword arguments.

    Returns:
        What the operator returns, with pairs in place of complex tensors.

    Raises:
        NotImplementedError: If the operator has no form for pairs.
    """
    if target is operator.getitem:
        return args[0][args[1]]  # type: ignore[index]
    if target in RULES:
        return RULES[target](*args, **kwargs)
    dtype = kwargs.get("dtype")
    makes_complex = isinstance(dtype, torch.dtype) and dtype.is_complex
    if not makes_complex and not any(isinstance(a, (Pair, complex)) for a in _leaves((args, kwargs))):
        return target(*args, **kwargs)
    if isinstance(dtype, torch.dtype) and makes_complex:
        kwargs = {**kwargs, "dtype": dtype.to_real()}
    if target in _MAKERS:
        real: Tensor = target(*_each(_real, args), **kwargs)
        if any(isinstance(a, complex) for a in args):
            return _by_parts(target, args, kwargs)
        return Pair(real, torch.zeros_like(real)) if makes_complex or dtype is None else real
    if target in _BY_PARTS:
        return _by_parts(target, args, kwargs)
    raise NotImplementedError(f"{target} has no form for complex tensors")


def _leaves(value: object) -> list[object]:
    return pytree.tree_leaves(value, is_leaf=is_pair)


def _each(part: Callable[[object], object], value: Any) -> Any:
    """Apply a function to all tensors, pairs and numbers in a value."""
    return pytree.tree_map(part, value, is_leaf=is_pair)


def _real(value: object) -> object:
    return value.re if isinstance(value, Pair) else value.real if isinstance(value, complex) else value


def _imaginary(value: object) -> object:
    """Return the imaginary part; other values than floats, such as dims, stay as they are."""
    if isinstance(value, Tensor):
        return torch.zeros_like(value) if value.is_floating_point() else value
    return value.im if isinstance(value, Pair) else value.imag if isinstance(value, (complex, float)) else value


def _by_parts(target: Callable[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]) -> Pair | list[Pair]:
    """Run an operator that treats the real and the imaginary part alike."""
    re, im = (target(*_each(part, args), **_each(part, kwargs)) for part in (_real, _imaginary))
    if isinstance(re, (list, tuple)):
        return [Pair(a, b) for a, b in zip(re, im, strict=True)]
    return Pair(re, im)


_MAKERS = frozenset(
    {
        aten.full.default,
        aten.zeros.default,
        aten.new_zeros.default,
        aten.empty.memory_format,
        aten.zeros_like.default,
        aten.full_like.default,
        aten.new_full.default,
        aten.scalar_tensor.default,
    }
)
"""Operators that make a complex tensor from a number, by their ``dtype``."""

_NAMES = """
    neg view _unsafe_view reshape permute transpose.int unsqueeze
    squeeze squeeze.dim squeeze.dims expand slice.Tensor select.int index.Tensor index_select cat stack clone
    alias detach flip roll constant_pad_nd sum sum.dim_IntList mean mean.dim slice_scatter select_scatter
    index_put where.self copy repeat unbind.int split_with_sizes split.Tensor gather
    lift_fresh_copy cumsum diagonal masked_fill.Tensor as_strided scatter.src tril triu t
"""

_BY_PARTS = frozenset(
    getattr(getattr(aten, name.partition(".")[0]), name.partition(".")[2] or "default") for name in _NAMES.split()
)
"""Operators that treat both parts alike; a real number or tensor among their arguments has no imaginary part."""
