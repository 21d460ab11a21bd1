"""Numbers beside float64 tensors, which the exporter writes in single precision: 0.1 is then off by 1e-9."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from lightning_onnx.tracing.rules.base import Call, Operand, Rule, as_tensor, aten, is_double


def with_tensor(operator: torch._ops.OpOverload) -> Callable[..., Any]:
    """Call an operator with the number, and the one that it is multiplied by, as tensors of float64."""

    def rule(x: Operand, number: Operand, *args: object, alpha: float = 1, **kwargs: object) -> object:
        if not (isinstance(x, Tensor) and x.dtype == torch.float64 and (_is_inexact(number) or _is_inexact(alpha))):
            return NotImplemented
        number = as_tensor(number, x.dtype)
        if alpha != 1:
            number = number * torch.scalar_tensor(alpha, dtype=x.dtype)
        return operator(x, number, *args, **kwargs)

    return rule


def divided_by(function: Callable[[Tensor], Tensor], number: float) -> Callable[[Tensor], object]:
    """Divide what a function gives by a number."""

    def rule(x: Tensor) -> object:
        if x.dtype != torch.float64:
            return NotImplemented
        return function(x) / torch.scalar_tensor(number, dtype=x.dtype)

    return rule


def lerp(x: Tensor, end: Tensor, weight: float) -> object:
    """Interpolate as ``lerp`` of torch's ``Lerp.h`` does: from the nearer end."""
    if x.dtype != torch.float64:
        return NotImplemented
    share = torch.scalar_tensor(weight, dtype=x.dtype)
    return x + share * (end - x) if abs(weight) < 0.5 else end - (end - x) * (1 - share)


def subtract_from(x: Tensor, number: float, alpha: float = 1) -> object:
    """Subtract a tensor from a number."""
    if not (x.dtype == torch.float64 and _is_inexact(number) and alpha == 1):
        return NotImplemented
    return torch.scalar_tensor(number, dtype=x.dtype) - x


def _is_inexact(number: object) -> TypeGuard[float]:
    """Tell whether single precision cannot hold a number."""
    return isinstance(number, float) and math.isfinite(number) and float(np.float32(number)) != number


def _has_inexact_number(call: Call) -> bool:
    return is_double(call) and any(_is_inexact(a) for a in (*call.args[1:], *call.kwargs.values()))


_WHY = "The exporter writes the number in single precision."

_TENSOR_FORMS = {
    aten.add.Tensor: aten.add.Tensor,
    aten.sub.Tensor: aten.sub.Tensor,
    aten.mul.Tensor: aten.mul.Tensor,
    aten.div.Tensor: aten.div.Tensor,
    aten.pow.Tensor_Scalar: aten.pow.Tensor_Tensor,
    aten.gt.Scalar: aten.gt.Tensor,
    aten.ge.Scalar: aten.ge.Tensor,
    aten.lt.Scalar: aten.lt.Tensor,
    aten.le.Scalar: aten.le.Tensor,
}

RULES = (
    *(Rule((op,), with_tensor(form), _WHY, _has_inexact_number) for op, form in _TENSOR_FORMS.items()),
    Rule((aten.rsub.Scalar,), subtract_from, _WHY, _has_inexact_number),
    Rule((aten.lerp.Scalar,), lerp, _WHY, is_double),
    Rule((aten.log2.default,), divided_by(torch.log, math.log(2)), _WHY, is_double),
    Rule((aten.log10.default,), divided_by(torch.log, math.log(10)), _WHY, is_double),
    Rule((aten.deg2rad.default,), divided_by(torch.clone, 180 / math.pi), _WHY, is_double),
    Rule((aten.rad2deg.default,), divided_by(torch.clone, math.pi / 180), _WHY, is_double),
)
