"""Clamps with one limit, or with an integer and a float."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_onnx.tracing.rules.base import Call, Operand, Rule, as_tensor, aten, is_float, of_floats, value


def clamp(x: Tensor, min: Operand | None = None, max: Operand | None = None) -> object:
    """Limit one side, or both sides with numbers of the same type."""
    if _is_mixed(min, max):
        dtype = torch.result_type(x, 0.5)
        return aten.clamp.default(x.to(dtype), float(min), float(max))  # type: ignore[arg-type]
    if not x.is_floating_point():
        return NotImplemented
    if max is None and min is not None:
        return torch.maximum(x, as_tensor(min, x.dtype))
    if min is None and max is not None:
        return torch.minimum(x, as_tensor(max, x.dtype))
    return NotImplemented


def clamp_min(x: Tensor, min: Operand) -> object:
    """Limit from below."""
    return clamp(x, min=min)


def clamp_max(x: Tensor, max: Operand) -> object:
    """Limit from above."""
    return clamp(x, max=max)


def _is_mixed(min: object, max: object) -> bool:
    """Tell whether one limit is an integer and the other one a float."""
    return {type(min), type(max)} == {int, float}


def _is_needed(call: Call) -> bool:
    low, high = (call.args[i] if len(call.args) > i else call.kwargs.get(name) for i, name in ((1, "min"), (2, "max")))
    return _is_mixed(low, high) or (is_float(value(call.args[0])) and (low is None) != (high is None))


RULES = (
    Rule(
        (aten.clamp.default, aten.clamp.Tensor),
        clamp,
        "onnxruntime's Clip with one limit makes inf 3.4e38; the exporter refuses an integer with a float limit.",
        _is_needed,
    ),
    Rule((aten.clamp_min.default, aten.clamp_min.Tensor), clamp_min, "As for clamp.", of_floats),
    Rule((aten.clamp_max.default, aten.clamp_max.Tensor), clamp_max, "As for clamp.", of_floats),
)
