"""Capture with ``torch.export.export``, which runs the module: the capture that is tried first."""

from __future__ import annotations

from torch import Tensor

from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.captures.base import Captured, DynamicShapes, export_program


class TorchExport:
    """``torch.export.export`` with ``strict=False``; it keeps an LSTM or a GRU as one operator."""

    follows_values = False

    def capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """See ``Capture.capture``."""
        return Captured(export_program(module, tensors, dynamic_shapes))
