"""Integers of 8 and 16 bits, for which ONNX and onnxruntime lack operators, computed as longer ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from lightning_onnx.tracing.rules.base import Call, Rule, aten, value

_FOR_16_BITS = (
    aten.max.dim,
    aten.min.dim,
    aten.max.default,
    aten.min.default,
    aten.amax.default,
    aten.amin.default,
    aten.argmax.default,
    aten.argmin.default,
    aten.maximum.default,
    aten.minimum.default,
    aten.clamp.default,
    aten.clamp.Tensor,
    aten.clamp_min.default,
    aten.clamp_max.default,
    aten.where.self,
    aten.where.ScalarOther,
    aten.masked_fill.Scalar,
    aten.constant_pad_nd.default,
    aten.pad.default,
)
"""Operators that onnxruntime has for integers of 8 bits."""

_FOR_ALL = (aten.matmul.default, aten.einsum.default, aten.tril.default, aten.triu.default)

_16_BITS = (torch.int16,)
_ALL = (torch.int16, torch.int8, torch.uint8)

_SMALL_POWER = 8
"""The highest power that is written as products."""


def in_32_bits(operator: Callable[..., Any], dtypes: tuple[torch.dtype, ...]) -> Callable[..., Any]:
    """Return a replacement of an operator for tensors of some dtypes; what overflows is cut off, as in torch."""

    def replacement(*args: Any, **kwargs: Any) -> Any:
        dtype = _common_dtype(tree_leaves((args, kwargs)), dtypes)
        if dtype is None:
            return NotImplemented
        args, kwargs = tree_map_only(Tensor, lambda t: t.int() if t.dtype == dtype else t, (args, kwargs))
        return tree_map_only(Tensor, lambda t: t.to(dtype) if t.dtype == torch.int32 else t, operator(*args, **kwargs))

    return replacement


def power(x: Tensor, exponent: float) -> object:
    """Raise small integers as integers of 64 bits, and cut off what overflows."""
    if x.dtype not in _ALL or not isinstance(exponent, int) or not 0 <= exponent <= _SMALL_POWER:
        return NotImplemented
    found = torch.ones_like(x, dtype=torch.int64)
    for _ in range(exponent):
        found = found * x
    return found.to(x.dtype)


def has(dtypes: tuple[torch.dtype, ...]) -> Callable[[Call], bool]:
    """Return the condition that the operands are tensors of one of some dtypes."""

    def needed(call: Call) -> bool:
        return _common_dtype([value(leaf) for leaf in tree_leaves((call.args, call.kwargs))], dtypes) is not None

    return needed


def to_a_small_power(call: Call) -> bool:
    """Tell whether small integers are raised to a constant power that can be written as products."""
    return has(_ALL)(call) and isinstance(call.args[1], int) and 0 <= call.args[1] <= _SMALL_POWER


def _common_dtype(values: list[Any], dtypes: tuple[torch.dtype, ...]) -> torch.dtype | None:
    """Return the dtype of all tensors but masks, if it is one of some."""
    found = {v.dtype for v in values if isinstance(v, Tensor)} - {torch.bool}
    return found.pop() if len(found) == 1 and found <= set(dtypes) else None


RULES = (
    Rule((aten.pow.Tensor_Scalar,), power, "ONNX has no powers of small integers.", to_a_small_power),
    *(
        Rule((operator,), in_32_bits(operator, dtypes), f"onnxruntime has none for integers of {bits}.", has(dtypes))
        for operators, dtypes, bits in ((_FOR_16_BITS, _16_BITS, "16 bits"), (_FOR_ALL, _ALL, "8 or 16 bits"))
        for operator in operators
    ),
)
