"""Capture by reading the module's bytecode, for modules that convert sizes to numbers of Python."""

from __future__ import annotations

from torch import Tensor

from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.captures.base import Captured, DynamicShapes, export_program


class StrictExport:
    """``torch.export.export`` with ``strict=True``; sizes stay dynamic that pass through ``int`` or ``float``."""

    follows_values = False

    def capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """See ``Capture.capture``."""
        return Captured(export_program(module, tensors, dynamic_shapes, strict=True))
