"""Products of groups of rows with a matrix of each group, as the mixtures of experts of transformers compute them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_LAST = 2**63 - 1


def translations() -> dict[Any, Callable[..., Any]]:
    """Return translations for ``custom_translation_table`` of ``torch.onnx.export(dynamo=True)``, by operator.

    It is an operator of transformers, which takes it for ``torch.nn.functional.grouped_mm`` where torch traces none.
    """
    found = getattr(torch.ops.transformers, "grouped_mm_fallback", None)
    return {} if found is None else {found.default: _grouped_mm}


def _grouped_mm(input: Any, weight: Any, offs: Any) -> Any:
    """Multiply rows up to ``offs[0]`` by ``weight[0]``, those from there to ``offs[1]`` by ``weight[1]``, and so on.

    Args:
        input: Of shape ``(rows, in)``.
        weight: Of shape ``(groups, in, out)``.
        offs: The end of each group, of shape ``(groups,)``. Rows behind the last one become 0.
    """
    from onnxscript import opset18

    op: Any = opset18  # its types do not allow values of a graph
    zero, one = op.Constant(value_ints=[0]), op.Constant(value_ints=[1])
    ends = op.Cast(offs, to=7)
    products, start = [], zero
    for group in range(weight.shape[0]):
        place = op.Constant(value_ints=[group])
        end = op.Gather(ends, place)
        matrix = op.Squeeze(op.Gather(weight, place), zero)
        products.append(op.MatMul(op.Slice(input, start, end, zero), matrix))
        start = end
    rest = op.Slice(op.Shape(op.Slice(input, start, op.Constant(value_ints=[_LAST]), zero)), zero, one)
    width = op.Constant(value_ints=[weight.shape[2]])
    zeros = op.Expand(op.CastLike(op.Constant(value_floats=[0.0]), input), op.Concat(rest, width, axis=0))
    return op.Concat(*products, zeros, axis=0)
