"""Arithmetic with sizes as Python does it: floats in double precision, division rounded down.

The exporter writes floats made of sizes in single precision, so that ``math.floor(n * 0.7)`` is another size for some
``n``, and divides negative numbers towards zero.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch


def translations() -> dict[Any, Callable[..., Any]]:
    """Return translations for ``custom_translation_table`` of ``torch.onnx.export(dynamo=True)``, by operator."""
    from onnxscript import opset18 as op

    def of_two(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def translation(self: Any, other: Any) -> Any:
            if _is_integer(self) and _is_integer(other):
                return function(self, other)
            return _single(function(_double(self), _double(other)))

        return translation

    def truediv(self: Any, other: Any) -> Any:
        return _single(op.Div(_double(self), _double(other)))

    def floordiv(self: Any, other: Any) -> Any:
        if not (_is_integer(self) and _is_integer(other)):
            return _single(op.Floor(op.Div(_double(self), _double(other))))
        return op.Div(op.Sub(self, op.Mod(self, other)), other)  # Mod has the divisor's sign, as in Python

    def rounded(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def translation(self: Any, digits: Any = None) -> Any:
            return self if _is_integer(self) else op.Cast(function(_double(self)), to=_INT64)

        return translation

    def sym_float(self: Any) -> Any:
        return _single(_double(self))

    def sqrt(self: Any) -> Any:
        return _single(op.Sqrt(_double(self)))

    def bincount(self: Any, weights: Any = None, minlength: Any = 0) -> Any:
        """Count in as many bins as the values need, at least ``minlength``, which may be a value of the graph."""
        write: Any = op  # of any type, which onnxscript's stubs do not allow for
        one = write.Constant(value_ints=[1])
        zero = write.Constant(value_ints=[0])
        self = write.Cast(self, to=_INT64)
        values = write.Concat(self, write.Constant(value_ints=[-1]), axis=0)
        least = write.Constant(value_ints=[minlength]) if isinstance(minlength, int) else minlength
        bins = write.Max(write.Add(write.ReduceMax(values, zero, keepdims=1), one), write.Reshape(least, one))
        counted = write.Expand(one, write.Shape(self)) if weights is None else weights
        return write.ScatterElements(
            write.Expand(write.CastLike(zero, counted), bins), self, counted, axis=0, reduction="add"
        )

    def scalar_tensor(s: Any, dtype: Any = _FLOAT, **options: Any) -> Any:
        """Write a number in the precision that was asked for; torch's translation rounds it to single precision."""
        if not isinstance(s, (int, float)):
            return op.Cast(s, to=dtype)
        write: Any = op  # of any type, which onnxscript's stubs do not allow for
        return write.Cast(write.Constant(value=_scalar(float(s))), to=dtype)

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


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) or (not isinstance(value, float) and int(value.dtype or 0) == _INT64)


def _double(value: Any) -> Any:
    """Cast to float64; undo an earlier cast down instead of casting twice."""
    from onnxscript import opset18 as op

    if isinstance(value, (int, float)):
        return op.Constant(value=_scalar(float(value)))
    made = value.producer()
    if made is not None and made.op_type == "Cast" and int(made.inputs[0].dtype or 0) == _DOUBLE:
        return made.inputs[0]
    return op.Cast(value, to=_DOUBLE)


def _single(double: Any) -> Any:
    """Cast to float32, which a network computes with."""
    from onnxscript import opset18 as op

    return op.Cast(double, to=_FLOAT)


def _scalar(value: float) -> Any:
    import onnx

    return onnx.helper.make_tensor("value", _DOUBLE, [], [value])
