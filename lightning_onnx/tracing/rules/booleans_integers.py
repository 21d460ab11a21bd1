"""Booleans and integers, for which ONNX and onnxruntime have fewer operators than torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from lightning_onnx.tracing.rules.base import Call, Operand, Rule, as_tensor, aten, is_integer, value


def add(x: Operand, other: Operand, *, alpha: Operand = 1) -> object:
    """Return ``or`` of booleans, as torch adds them."""
    return x | other if _boolean(x) and _boolean(other) and alpha else NotImplemented


def multiply(x: Operand, other: Operand) -> object:
    """Return ``and`` of booleans, as torch multiplies them."""
    return x & other if _boolean(x) and _boolean(other) else NotImplemented


def choose(condition: Tensor, x: Operand, other: Operand) -> object:
    """Choose among booleans, for which onnxruntime has no ``Where``."""
    if not (_boolean(x) and _boolean(other)):
        return NotImplemented
    return (condition & x) | (~condition & other)


def fill(x: Tensor, mask: Tensor, fill: Operand) -> object:
    """Set booleans to a value where the mask is true."""
    if not _boolean(x):
        return NotImplemented
    if isinstance(fill, Tensor):
        return (x & ~mask) | (mask & fill.to(torch.bool))
    return x | mask if fill else x & ~mask


def subtract_from(x: Tensor, other: float, alpha: float = 1) -> Tensor:
    """Subtract integers from a float."""
    x = x.to(torch.result_type(x, other))
    return (-x if alpha == 1 else x * -alpha) + other


def index(x: Tensor, indices: Sequence[Tensor | None]) -> object:
    """Index by integers of 64 bits."""
    if not any(_short(i) for i in indices):
        return NotImplemented
    return torch.ops.aten.index.Tensor(x, [i.long() if i is not None and _short(i) else i for i in indices])


def shift_left(x: Tensor, other: Tensor) -> Tensor:
    """Shift by the operator that the exporter knows."""
    return torch.bitwise_left_shift(x, other)


def shift_right(x: Tensor, other: Tensor) -> Tensor:
    """Shift by the operator that the exporter knows."""
    return torch.bitwise_right_shift(x, other)


def shift_bytes_right(x: Tensor, other: Tensor | int) -> object:
    """Shift bytes as integers of 32 bits."""
    if x.dtype != torch.uint8:
        return NotImplemented
    return torch.bitwise_right_shift(x.int(), other.int() if isinstance(other, Tensor) else other).to(torch.uint8)


def shift_bytes_left(x: Tensor, other: Tensor | int) -> object:
    """Shift bytes as integers of 32 bits, and drop what leaves the byte."""
    if x.dtype != torch.uint8:
        return NotImplemented
    shifted = torch.bitwise_left_shift(x.int(), other.int() if isinstance(other, Tensor) else other)
    return (shifted & 255).to(torch.uint8)


def negate_bytes(x: Tensor) -> object:
    """Negate bytes as integers of 32 bits, and keep the byte."""
    return (-x.int() & 255).to(torch.uint8) if x.dtype == torch.uint8 else NotImplemented


def sort(x: Tensor, dim: int = -1, descending: bool = False, stable: bool | None = None) -> Any:
    """Sort booleans as integers; equal ones keep their order."""
    if x.dtype != torch.bool:
        return NotImplemented
    values, order = torch.sort(x.int(), dim, descending)
    return values.bool(), order


def as_byte(function: Callable[..., Tensor]) -> Callable[..., object]:
    """Return a replacement of ``torch.any`` or ``torch.all``, which give a byte for bytes."""

    def replacement(x: Tensor, *args: Any, **kwargs: Any) -> object:
        return function(x != 0, *args, **kwargs).to(x.dtype) if x.dtype == torch.uint8 else NotImplemented

    return replacement


def divide_rounded(x: Operand, other: Operand, *, rounding_mode: str | None = None) -> object:
    """Divide integers as integers."""
    dtype = torch.result_type(x, other)
    if rounding_mode is None or dtype.is_floating_point or dtype.is_complex:
        return NotImplemented
    x, other = as_tensor(x, dtype), as_tensor(other, dtype)
    if rounding_mode == "trunc" and dtype.is_signed:
        x = x - torch.fmod(x, other)
    return torch.floor_divide(x, other)


def softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> object:
    """Convert before the exponentials are taken; the exporter does it after."""
    return NotImplemented if dtype is None or x.is_floating_point() else torch.softmax(x.to(dtype), dim)


def mean(x: Tensor, *args: Any, dtype: torch.dtype | None = None) -> object:
    """Convert before the mean is taken; the exporter does it after."""
    if dtype is None or x.is_floating_point() or x.is_complex():
        return NotImplemented
    return torch.mean(x.to(dtype), *args)


def are_boolean(call: Call) -> bool:
    """Tell whether both operands are booleans."""
    return all(_boolean(value(a)) for a in call.args[:2])


def is_boolean(call: Call) -> bool:
    """Tell whether the first operand is a boolean."""
    return _boolean(value(call.args[0]))


def chooses_booleans(call: Call) -> bool:
    """Tell whether both choices are booleans."""
    return all(_boolean(value(a)) for a in call.args[1:3])


def by_short_integers(call: Call) -> bool:
    """Tell whether an index has less than 64 bits."""
    return any(_short(value(i)) for i in value(call.args[1]))


def from_a_float(call: Call) -> bool:
    """Tell whether integers are subtracted from a float."""
    return isinstance(call.args[1], float) and is_integer(value(call.args[0]))


def are_bytes(call: Call) -> bool:
    """Tell whether the first operand is a tensor of bytes."""
    found = value(call.args[0])
    return isinstance(found, Tensor) and found.dtype == torch.uint8


def rounds_integers(call: Call) -> bool:
    """Tell whether integers are divided, and the quotient is rounded."""
    found = [value(a) for a in call.args[:2]]
    return bool(call.kwargs.get("rounding_mode")) and all(
        isinstance(v, int | torch.SymInt) or is_integer(v) for v in found
    )


def of_integers(call: Call) -> bool:
    """Tell whether integers are to become floats on the way."""
    by_place = call.args[2] if call.target is torch.ops.aten.softmax.int and len(call.args) > 2 else None
    return (call.kwargs.get("dtype") or by_place) is not None and is_integer(value(call.args[0]))


def _boolean(found: object) -> TypeGuard[Tensor]:
    return isinstance(found, bool) or (isinstance(found, Tensor) and found.dtype == torch.bool)


def _short(found: object) -> TypeGuard[Tensor]:
    return isinstance(found, Tensor) and found.dtype in (torch.int32, torch.int16, torch.int8)


RULES = (
    Rule((aten.add.Tensor,), add, "ONNX adds no booleans.", are_boolean),
    Rule((aten.mul.Tensor,), multiply, "ONNX multiplies no booleans.", are_boolean),
    Rule((aten.rsub.Scalar,), subtract_from, "The exporter rounds the float to an integer.", from_a_float),
    Rule(
        (aten.where.self, aten.where.Scalar, aten.where.ScalarSelf, aten.where.ScalarOther),
        choose,
        "onnxruntime has no Where of booleans.",
        chooses_booleans,
    ),
    Rule((aten.masked_fill.Scalar, aten.masked_fill.Tensor), fill, "As for where.", is_boolean),
    Rule((aten.index.Tensor,), index, "ONNX takes indices of 64 bits.", by_short_integers),
    Rule(
        (aten.__rshift__.Scalar, aten.__rshift__.Tensor, aten.bitwise_right_shift.Tensor),
        shift_bytes_right,
        "The exporter returns int8 for uint8.",
        are_bytes,
    ),
    Rule(
        (aten.__lshift__.Scalar, aten.__lshift__.Tensor, aten.bitwise_left_shift.Tensor),
        shift_bytes_left,
        "As for shifts to the right.",
        are_bytes,
    ),
    Rule((aten.__lshift__.Tensor,), shift_left, "The exporter has no translation."),
    Rule((aten.__rshift__.Tensor,), shift_right, "The exporter has no translation."),
    Rule((aten.sort.default, aten.sort.stable), sort, "onnxruntime has no TopK of booleans.", is_boolean),
    Rule((aten.neg.default,), negate_bytes, "ONNX negates no bytes.", are_bytes),
    Rule(
        (aten.any.default, aten.any.dim, aten.any.dims),
        as_byte(torch.any),
        "The exporter returns booleans for uint8.",
        are_bytes,
    ),
    Rule((aten.all.default, aten.all.dim, aten.all.dims), as_byte(torch.all), "As for any.", are_bytes),
    Rule(
        (aten.div.Tensor_mode, aten.div.Scalar_mode),
        divide_rounded,
        "The exporter divides integers as float32: seconds since 1970 are rounded to two minutes.",
        rounds_integers,
    ),
    Rule((aten.softmax.int,), softmax, "The exporter converts integers after the exponentials.", of_integers),
    Rule((aten.mean.default, aten.mean.dim), mean, "The exporter converts integers after the mean.", of_integers),
)
