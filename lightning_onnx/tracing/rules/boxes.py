"""Boxes of torchvision that the exporter translates wrongly."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

_ALL = 2**63 - 1
"""No limit of the number of boxes that are kept."""


def translations() -> dict[Any, Callable[..., Any]]:
    """Return translations for ``custom_translation_table`` of ``torch.onnx.export(dynamo=True)``, by operator.

    ONNX takes any two opposite corners of a box. To torchvision, a box whose second corner is not beyond the first one
    overlaps no other box.
    """
    if "torchvision" not in sys.modules:
        return {}
    from onnxscript import opset18

    op: Any = opset18  # its types do not allow values of a graph

    def nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
        zero, one, two, three, four = (op.Constant(value_ints=[n]) for n in range(5))
        first, second = op.Slice(boxes, zero, two, one), op.Slice(boxes, two, four, one)
        boxes = op.Unsqueeze(op.Concat(first, op.Max(first, second), axis=1), zero)
        scores = op.Unsqueeze(scores, op.Constant(value_ints=[0, 1]))
        limit, threshold = op.Constant(value_ints=[_ALL]), op.Constant(value_floats=[iou_threshold])
        kept = op.NonMaxSuppression(boxes, scores, limit, threshold)
        return op.Reshape(op.Slice(kept, two, three, one), op.Constant(value_ints=[-1]))

    return {torch.ops.torchvision.nms.default: nms}
