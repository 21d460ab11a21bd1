"""Antialiased resizing by a factor, which torch's exporter writes without the factor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir
import torch

_OF_CUBIC = -0.5
"""The coefficient of torch's antialiased cubic filter, which is that of PIL."""


def translations() -> dict[Any, Callable[..., Any]]:
    """Return translations for ``custom_translation_table`` of ``torch.onnx.export(dynamo=True)``, by operator."""
    aten = torch.ops.aten
    return {aten._upsample_bilinear2d_aa.default: _bilinear, aten._upsample_bicubic2d_aa.default: _bicubic}


# The exporter reads the types of these two, and warns of those that it does not know.
def _bilinear(
    self: Any, output_size: Any, align_corners: bool, scales_h: float | None = None, scales_w: float | None = None
) -> Any:
    return _resized(self, output_size, align_corners, (scales_h, scales_w), mode="linear")


def _bicubic(
    self: Any, output_size: Any, align_corners: bool, scales_h: float | None = None, scales_w: float | None = None
) -> Any:
    return _resized(self, output_size, align_corners, (scales_h, scales_w), mode="cubic", cubic_coeff_a=_OF_CUBIC)


def _resized(
    image: onnx_ir.Value,
    output_size: Sequence[int | onnx_ir.Value],
    align_corners: bool,
    factors: tuple[float | None, float | None],
    **of_mode: str | float,
) -> object:
    """Resize by factors where there are any and torch uses them, else to a size.

    ONNX multiplies sizes by factors of float32 and torch by those of float64. The factors are rounded up, and a row or
    a column that is too many is cut off.
    """
    from onnxscript import opset18

    op: Any = opset18  # its types do not allow values of a graph
    corners = "align_corners" if align_corners else "half_pixel"
    options = {"antialias": 1, "exclude_outside": 1, "coordinate_transformation_mode": corners, **of_mode}
    one = op.Constant(value_ints=[1])
    sizes = [op.Constant(value_ints=[s]) if isinstance(s, int) else op.Reshape(s, one) for s in output_size]
    if align_corners or None in factors:
        size = op.Concat(op.Shape(image, start=0, end=2), *sizes, axis=0)
        return op.Resize(image, None, None, size, **options)
    scales = op.Constant(value_floats=[1.0, 1.0, *(_rounded_up(f) for f in factors if f is not None)])
    resized = op.Resize(image, None, scales, **options)
    start, ends, axes = op.Constant(value_ints=[0, 0]), op.Concat(*sizes, axis=0), op.Constant(value_ints=[2, 3])
    return op.Slice(resized, start, ends, axes)


def _rounded_up(factor: float) -> float:
    found = np.float32(factor)
    return float(found if found >= factor else np.nextafter(found, np.float32(np.inf)))
