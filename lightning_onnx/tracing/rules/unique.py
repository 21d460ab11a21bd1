"""Unique values, which onnxruntime finds only in tensors of some types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

_KNOWN = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT64, ir.DataType.INT8)
"""The types for which onnxruntime has a kernel."""

_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def translations() -> dict[Any, Callable[..., Any]]:
    """Return translations for ``custom_translation_table`` of ``torch.onnx.export(dynamo=True)``, by operator."""
    from onnxscript import opset18

    op: Any = opset18  # its types do not allow values of a graph

    def unique(
        x: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False
    ) -> tuple[Any, Any, Any]:
        """Return what ``torch.unique`` gives without a dim; results that were not asked for are there as well."""
        dtype = x.dtype
        if dtype not in _KNOWN:
            x = op.Cast(x, to=ir.DataType.FLOAT if dtype in _HALF else ir.DataType.INT64)
        values, _, inverse, counts = op.Unique(x, sorted=1)
        if dtype not in _KNOWN:
            values = op.Cast(values, to=dtype)
        return values, op.Reshape(inverse, op.Shape(x)), counts

    return {torch.ops.aten._unique2.default: unique}
