"""Captures like ``Precomputed``, along the branches that the traced values take."""

from __future__ import annotations

from torch import Tensor

from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.captures.base import Captured, DynamicShapes
from lightning_onnx.tracing.captures.precomputed import Precomputed
from lightning_onnx.tracing.captures.traced_values import capture_with_values


class PrecomputedWithValues(Precomputed):
    """For modules that make decisions based on tensor values and compute with complex tensors, such as spectra."""

    follows_values = True

    def first_capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """See ``Precomputed.first_capture``."""
        return capture_with_values(module, tensors, dynamic_shapes, strict=False, symbolic_int=False)
