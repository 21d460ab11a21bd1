"""Capture along the branches that the traced values take, with ``int(tensor)`` as a number that the graph computes."""

from __future__ import annotations

from torch import Tensor

from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.captures.base import Captured, DynamicShapes
from lightning_onnx.tracing.captures.traced_values import capture_with_values


class SymbolicInt:
    """Runs the module with an ``int`` that can return a symbol, see ``lightning_onnx.tracing.patches.integers``."""

    follows_values = True

    def capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """See ``Capture.capture``."""
        return capture_with_values(module, tensors, dynamic_shapes, strict=False, symbolic_int=True)
