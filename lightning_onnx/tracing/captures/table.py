"""The captures of the torch.export based engine, in the order in which they are tried."""

from __future__ import annotations

from lightning_onnx.tracing.captures.autograd import Autograd
from lightning_onnx.tracing.captures.base import Capture
from lightning_onnx.tracing.captures.densified import Densified
from lightning_onnx.tracing.captures.exporter import Exporter
from lightning_onnx.tracing.captures.precomputed import Precomputed
from lightning_onnx.tracing.captures.precomputed_with_values import PrecomputedWithValues
from lightning_onnx.tracing.captures.strict_export import StrictExport
from lightning_onnx.tracing.captures.symbolic_int import SymbolicInt
from lightning_onnx.tracing.captures.torch_export import TorchExport
from lightning_onnx.tracing.captures.traced_values import TracedValues

CAPTURES: tuple[Capture, ...] = (
    TorchExport(),
    Exporter(),
    StrictExport(),
    TracedValues(),
    SymbolicInt(),
    Precomputed(),
    PrecomputedWithValues(),
    Autograd(),
    Densified(),
)
"""Captures for common modules come first; each of the last six is for modules that those before it get wrong."""
