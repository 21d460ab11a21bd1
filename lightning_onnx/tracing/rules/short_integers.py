"""Integers of 8 and 16 bits, for which onnxruntime lacks kernels, computed as integers of 32 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves, tree_map_only

from lightning_onnx.tracing.rules.base import Rule, aten, value

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

_FOR_ALL = (aten.matmul.default, aten.einsum.default)

_SMALL = (torch.int16, torch.int8, torch.uint8)


def in_32_bits(operator: Callable[..., Any], dtypes: tuple[torch.dtype, ...]) -> Callable[..., Any]:
    """Return a replacement of an operator for tensors of some dtypes; what overflows is cut off, as in torch."""

    def replacement(*args: Any, **kwargs: Any) -> Any:
        dtype = _common_dtype(tree_leaves((args, kwargs)), dtypes)
        if dtype is None:
            return NotImplemented
        args, kwargs = tree_map_only(Tensor, lambda t: t.int() if t.dtype == dtype else t, (args, kwargs))
        return tree_map_only(Tensor, lambda t: t.to(dtype) if t.dtype == torch.int32 else t, operator(*args, **kwargs))

    return replacement


def has(dtypes: tuple[torch.dtype, ...]) -> Callable[[fx.Node], bool]:
    """Return the condition that the operands are tensors of one of some dtypes."""

    def needed(node: fx.Node) -> bool:
        return _common_dtype([value(leaf) for leaf in tree_leaves((node.args, node.kwargs))], dtypes) is not None

    return needed


def _common_dtype(values: list[Any], dtypes: tuple[torch.dtype, ...]) -> torch.dtype | None:
    """Return the dtype of all tensors but masks, if it is one of some."""
    found = {v.dtype for v in values if isinstance(v, Tensor)} - {torch.bool}
    return found.pop() if len(found) == 1 and found <= set(dtypes) else None


RULES = tuple(
    Rule((operator,), in_32_bits(operator, dtypes), f"onnxruntime computes it for no integers of {bits}.", has(dtypes))
    for operators, dtypes, bits in ((_FOR_16_BITS, _SMALL[:1], "16 bits"), (_FOR_ALL, _SMALL, "8 or 16 bits"))
    for operator in operators
)
