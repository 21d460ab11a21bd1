"""Arithmetic of bfloat16, to which onnxruntime only converts: done in float32 and rounded, as torch does it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_onnx.tracing.rules.base import Call, Operand, Rule, as_tensor, aten, value


def sum_of(operator: Callable[..., Tensor]) -> Callable[..., object]:
    """Return a replacement of ``add`` or ``sub``, for which torch rounds numbers of Python, too."""

    def replacement(x: Operand, other: Operand, *, alpha: float = 1) -> object:
        if torch.result_type(x, other) != torch.bfloat16 or alpha != 1:
            return NotImplemented
        x, other = (as_tensor(operand, torch.bfloat16).float() for operand in (x, other))
        return operator(x, other).to(torch.bfloat16)

    return replacement


def product_of(operator: Callable[..., Tensor]) -> Callable[..., object]:
    """Return a replacement of ``mul`` or ``div``."""

    def replacement(x: Operand, other: Operand) -> object:
        if torch.result_type(x, other) != torch.bfloat16:
            return NotImplemented
        x, other = (o.to(torch.bfloat16).float() if isinstance(o, Tensor) else o for o in (x, other))
        return operator(x, other).to(torch.bfloat16)

    return replacement


def is_bfloat16(call: Call) -> bool:
    """Tell whether an operand is a tensor of bfloat16."""
    operands = [value(argument) for argument in call.args[:2]]
    return any(isinstance(operand, Tensor) and operand.dtype == torch.bfloat16 for operand in operands)


_WRITTEN = (
    (aten.add.Tensor, sum_of),
    (aten.sub.Tensor, sum_of),
    (aten.mul.Tensor, product_of),
    (aten.div.Tensor, product_of),
)

RULES = tuple(
    Rule((operator,), written(operator), "onnxruntime has none of bfloat16.", is_bfloat16)
    for operator, written in _WRITTEN
)
