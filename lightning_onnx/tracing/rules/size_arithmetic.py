"""Arithmetic with sizes as Python does it: floats in double precision, division rounded down.

The exporter writes floats made of sizes in single precision, so that ``math.floor(n * 0.7)`` is another size for some
``n``, and divides negative numbers towards zero.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import torch


def translations() -> dict[Any, Callable[..., Any]]:
    """Return translations for ``custom_translation_table`` of ``torch.onnx.export(dynamo=True)``, by operator."""
    op = _operators()

    def of_two(function: Callable[[object, object], object]) -> Callable[[object, object], object]:
        def translation(self: object, other: object) -> object:
            if _is_integer(self) and _is_integer(other):
                return function(self, other)
            return _single(function(_double(self), _double(other)))

        return translation

    def truediv(self: object, other: object) -> object:
        return _single(op.Div(_double(self), _double(other)))

    def floordiv(self: object, other: object) -> object:
        if not (_is_integer(self) and _is_integer(other)):
            return _single(op.Floor(op.Div(_double(self), _double(other))))
        return op.Div(op.Sub(self, op.Mod(self, other)), other)  # Mod has the divisor's sign, as in Python

    def rounded(function: Callable[[object], object]) -> Callable[[object], object]:
        def translation(self: object, digits: object = None) -> object:
            return self if _is_integer(self) else op.Cast(function(_double(self)), to=_INT64)

        return translation

    def sym_float(self: object) -> object:
        return _single(_double(self))

    def sqrt(self: object) -> object:
        return _single(op.Sqrt(_double(self)))

    def bincount(self: object, weights: object = None, minlength: object = 0) -> object:
        """Count in as many bins as the values need, at least ``minlength``, which may be a value of the graph."""
        one = op.Constant(value_ints=[1])
        zero = op.Constant(value_ints=[0])
        self = op.Cast(self, to=_INT64)
        values = op.Concat(self, op.Constant(value_ints=[-1]), axis=0)
        least = op.Constant(value_ints=[minlength]) if isinstance(minlength, int) else minlength
        bins = op.Max(op.Add(op.ReduceMax(values, zero, keepdims=1), one), op.Reshape(least, one))
        counted = op.Expand(one, op.Shape(self)) if weights is None else weights
        return op.ScatterElements(op.Expand(op.CastLike(zero, counted), bins), self, counted, axis=0, reduction="add")

    def scalar_tensor(s: object, dtype: object = _FLOAT, **options: object) -> object:
        """Write a number in the precision that was asked for; torch's translation rounds it to single precision."""
        if not isinstance(s, (int, float)):
            return op.Cast(s, to=dtype)
        return op.Cast(op.Constant(value=_scalar(float(s))), to=dtype)

    return {
        torch.ops.aten.bincount.default: bincount,
        torch.ops.aten.scalar_tensor.default: scalar_tensor,
        operator.add: of_two(op.Add),
        operator.sub: of_two(op.Sub),
        operator.mul: of_two(op.Mul),
        operator.truediv: truediv,
        operator.floordiv: floordiv,
        torch.sym_max: of_two(op.Max),
        torch.sym_min: of_two(op.Min),
        torch.sym_float: sym_float,
        torch.sym_sqrt: sqrt,
        math.floor: rounded(op.Floor),
        math.ceil: rounded(op.Ceil),
        math.trunc: rounded(lambda x: x),
        round: rounded(op.Round),
    }


_FLOAT, _INT64, _DOUBLE = 1, 7, 11
"""As in ``onnx.TensorProto``."""


def _operators() -> Any:
    """ONNX's operators at opset 18, without types: onnxscript's stubs do not accept values of a graph."""
    from onnxscript import opset18

    return opset18


def _dtype(value: object) -> int:
    return int(value.dtype or 0) if isinstance(value, ir.Value) else 0


def _is_integer(value: object) -> bool:
    return isinstance(value, int) or _dtype(value) == _INT64


_OF_DOUBLE = "lightning_onnx.of_double"
"""Key of the number in double precision that a value was made from."""


def _double(value: object) -> object:
    """Cast to float64; take the number that ``_single`` rounded instead of the rounded one."""
    if isinstance(value, (int, float)):
        return _operators().Constant(value=_scalar(float(value)))
    known = value.meta.get(_OF_DOUBLE) if isinstance(value, ir.Value) else None
    return _operators().Cast(value, to=_DOUBLE) if known is None else known


def _single(double: object) -> object:
    """Cast to float32, which a network computes with."""
    rounded = _operators().Cast(double, to=_FLOAT)
    if isinstance(rounded, ir.Value):
        rounded.meta[_OF_DOUBLE] = double
    return rounded


def _scalar(value: float) -> onnx.TensorProto:
    return onnx.helper.make_tensor("value", _DOUBLE, [], [value])
