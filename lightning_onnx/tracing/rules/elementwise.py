"""Operators on single elements: at extremes, at zeros of both signs, and for complex tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_onnx.tracing.rules.base import Call, Operand, Rule, as_tensor, aten, of_floats, value


def is_negative(x: Tensor) -> Tensor:
    """Return ``torch.signbit``: -0 counts as negative, unlike in ``x < 0``."""
    return (x < 0) | ((x == 0) & (1 / x < 0)) if x.is_floating_point() else x < 0


def log1p(x: Tensor) -> Tensor:
    """Return ``log(1 + x)`` without losing small ``x``: Kahan's correction, exact to rounding."""
    if not x.is_floating_point():
        x = x.to(torch.get_default_dtype())
    whole = 1 + x
    exact = (whole == 1) | whole.isinf()
    return torch.where(whole == 1, x, whole.log() * torch.where(exact, 1.0, x / torch.where(exact, 1.0, whole - 1)))


def expm1(x: Tensor) -> Tensor:
    """Return ``exp(x) - 1`` without losing small ``x``: Kahan's correction, exact to rounding."""
    if not x.is_floating_point():
        x = x.to(torch.get_default_dtype())
    grown = x.exp()
    small = (x.abs() < 0.5) & (grown != 1)
    corrected = (grown - 1) * x / torch.where(small, grown.log(), 1.0)
    return torch.where(small, corrected, torch.where(grown == 1, x, grown - 1))


def log_sigmoid(x: Tensor) -> Tensor:
    """Return ``log(1 / (1 + exp(-x)))``, whose sigmoid would be 0 below -104."""
    return x.clamp(max=0) - log1p((-x.abs()).exp())


def log_add_exp(a: Tensor, b: Tensor) -> Tensor:
    """Return ``log(exp(a) + exp(b))``, whose exponentials would be infinite above 88."""
    return _log_add(a, b, 1.0)


def log_add_exp2(a: Tensor, b: Tensor) -> Tensor:
    """Return ``log2(2 ** a + 2 ** b)``."""
    return _log_add(a, b, math.log(2))


def _log_add(a: Tensor, b: Tensor, unit: float) -> Tensor:
    larger = torch.maximum(a, b)
    apart = torch.where(a == b, 0.0, (a - b).abs())  # of two equal infinities the difference is NaN
    return torch.where(larger.isinf(), larger, larger + log1p((-apart * unit).exp()) / unit)


def atan2(y: Tensor, x: Tensor) -> Tensor:
    """Return the angle of ``(x, y)`` with the signs of zeros that C defines."""
    y, x = torch.broadcast_tensors(y, x)  # type: ignore[no-untyped-call]
    both = y.isinf() & x.isinf()
    slope = torch.where(both, 1.0, y.abs() / x.abs())
    angle = torch.where(y == 0, 0 * y.abs(), slope.atan())
    angle = torch.where(x.isnan(), x, torch.where(is_negative(x), math.pi - angle, angle))
    return torch.where(is_negative(y), -angle, angle)


def copy_sign(x: Tensor, sign: Operand) -> Tensor:
    """Return the magnitude of ``x`` with another sign."""
    size = x.abs() if x.is_floating_point() else x.abs().to(torch.get_default_dtype())
    negative = is_negative(sign) if isinstance(sign, Tensor) else torch.tensor(math.copysign(1, sign) < 0)
    return torch.where(negative, -size, size)


def hypot(a: Tensor, b: Tensor) -> Tensor:
    """Scale first, so that the squares of large numbers are finite."""
    larger = torch.maximum(a.abs(), b.abs())
    infinite = a.isinf() | b.isinf()
    by = torch.where((larger == 0) | infinite, 1.0, larger)
    return torch.where(infinite, float("inf"), by * ((a / by).square() + (b / by).square()).sqrt())


def remainder(x: Operand, other: Operand) -> object:
    """Return the exact remainder of a division that rounds down: that of ``fmod``, with the divisor's sign."""
    if isinstance(x, Tensor) and isinstance(other, torch.SymInt) and not x.is_floating_point():
        return torch.remainder(x, torch.scalar_tensor(other, dtype=x.dtype))
    x, other = _as_tensors(x, other)
    if x.is_complex() or not torch.result_type(x, other).is_floating_point:
        return NotImplemented
    left = torch.fmod(x, other)
    return torch.where((left != 0) & ((left < 0) != (other < 0)), left + other, left)


def floor_divide(x: Operand, other: Operand) -> object:
    """Divide as ``div_floor_floating`` of torch's ``div_rtn.h`` does: 1 // 0.001 is 999, not 1000."""
    x, other = _as_tensors(x, other)
    if not torch.result_type(x, other).is_floating_point:
        return NotImplemented
    left = torch.fmod(x, other)
    whole = (x - left) / other
    whole = torch.where((left != 0) & ((left < 0) != (other < 0)), whole - 1, whole)
    rounded = whole.floor()
    rounded = torch.where(whole - rounded > 0.5, rounded + 1, rounded)
    return torch.where(other == 0, x / other, torch.where(whole == 0, 0 * whole, rounded))


def divide_rounded(x: Operand, other: Operand, *, rounding_mode: str | None = None) -> object:
    """Divide as asked; rounding up towards zero and no rounding are left to the exporter."""
    return floor_divide(x, other) if rounding_mode == "floor" else NotImplemented


def _as_tensors(x: Operand, other: Operand) -> tuple[Tensor, Tensor]:
    dtype = torch.result_type(x, other)
    return as_tensor(x, dtype), as_tensor(other, dtype)


def x_log_y(x: Operand, y: Operand) -> Tensor:
    """Return ``x * log(y)``, 0 where ``x`` is 0, unless ``y`` is NaN."""
    x, y = _as_tensors(x, y)
    return torch.where(y.isnan(), y, torch.where(x == 0, 0.0, x * y.log()))


def x_log1p_y(x: Operand, y: Operand) -> Tensor:
    """Return ``x * log(1 + y)``, 0 where ``x`` is 0, unless ``y`` is NaN."""
    x, y = _as_tensors(x, y)
    return torch.where(y.isnan(), y, torch.where(x == 0, 0.0, x * log1p(y)))


def ignoring_nan(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Take the other operand if one is NaN."""
    return lambda a, b: torch.where(a.isnan(), b, torch.where(b.isnan(), a, function(a, b)))


def by_parts(function: torch._ops.OpOverload) -> Callable[..., Any]:
    """Run an operator that treats real and imaginary part alike on each of them."""

    def rule(z: Tensor, *args: object, **kwargs: object) -> object:
        if not z.is_complex():
            return NotImplemented
        kwargs.pop("dtype", None)
        return torch.complex(function(torch.real(z), *args, **kwargs), function(torch.imag(z), *args, **kwargs))

    return rule


def is_complex(call: Call) -> bool:
    """Tell whether the first operand is complex."""
    found = value(call.args[0])
    return isinstance(found, Tensor) and found.is_complex()


def _by_size_or_float(call: Call) -> bool:
    return of_floats(call) or not isinstance(call.args[1], (int, float))


def _rounds_down(call: Call) -> bool:
    return bool(call.kwargs.get("rounding_mode") == "floor") and of_floats(call)


_BY_PARTS = (
    aten.zeros_like.default,
    aten.unsqueeze.default,
    aten.expand.default,
    aten.alias.default,
    aten.index_select.default,
    aten.constant_pad_nd.default,
)

RULES = (
    Rule((aten.log1p.default,), log1p, "The exporter writes Log(1 + x), which is 0 below 6e-8.", of_floats),
    Rule((aten.expm1.default,), expm1, "The exporter writes Exp(x) - 1, which is 0 below 6e-8.", of_floats),
    Rule(
        (aten.log_sigmoid.default,),
        log_sigmoid,
        "The exporter writes Log(Sigmoid(x)), which is -inf below -19 in onnxruntime: losses and CRFs on logits.",
    ),
    Rule((aten.logaddexp.default,), log_add_exp, "The exporter writes Log(Exp(a) + Exp(b)), infinite above 88."),
    Rule((aten.logaddexp2.default,), log_add_exp2, "The exporter writes powers of 2, infinite above 128."),
    Rule((aten.atan2.default,), atan2, "The exporter gives -pi for a zero beside a negative number; torch gives pi."),
    Rule((aten.signbit.default,), is_negative, "The exporter writes x < 0, which is false for -0.", of_floats),
    Rule((aten.hypot.default,), hypot, "The exporter has no translation."),
    Rule((aten.copysign.Tensor, aten.copysign.Scalar), copy_sign, "The exporter has no translation."),
    Rule((aten.fmax.default,), ignoring_nan(torch.maximum), "The exporter has no translation."),
    Rule((aten.fmin.default,), ignoring_nan(torch.minimum), "The exporter has no translation."),
    Rule(
        (aten.remainder.Scalar, aten.remainder.Tensor),
        remainder,
        "The exporter subtracts a rounded quotient, which is far off if the quotient is large; and it takes no "
        "divisor that is a size.",
        _by_size_or_float,
    ),
    Rule(
        (aten.floor_divide.default, aten.floor_divide.Scalar),
        floor_divide,
        "The exporter writes Floor(a / b), which is one too much if the quotient is rounded up.",
        of_floats,
    ),
    Rule(
        (aten.div.Tensor_mode, aten.div.Scalar_mode),
        divide_rounded,
        "As for floor_divide.",
        _rounds_down,
    ),
    Rule((aten.xlogy.Tensor, aten.xlogy.Scalar_Self, aten.xlogy.Scalar_Other), x_log_y, "0 times log(NaN) was 0."),
    Rule(
        (aten.special_xlog1py.default, aten.special_xlog1py.self_scalar, aten.special_xlog1py.other_scalar),
        x_log1p_y,
        "As for log1p.",
    ),
    *(Rule((operator,), by_parts(operator), "The exporter has no complex form.", is_complex) for operator in _BY_PARTS),
)
