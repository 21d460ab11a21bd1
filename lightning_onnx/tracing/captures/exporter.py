"""Leave capturing to ``torch.onnx.export``."""

from __future__ import annotations

from torch import Tensor

from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.captures.base import Captured, DynamicShapes


class Exporter:
    """The exporter's own way: it tries several captures, and assumes less about sizes of 0 and 1.

    It unrolls an LSTM or a GRU into a loop.
    """

    follows_values = False

    def capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """See ``Capture.capture``."""
        return Captured(None)
