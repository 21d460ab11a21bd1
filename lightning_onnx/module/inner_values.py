"""Types of functions that report a module's inner values under their names in the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import GraphProto
from torch import Tensor

OnValue = Callable[[str, Tensor], None]
"""Called with the name of a value and torch's tensor; several times if several tensors are acceptable."""

InnerValues = Callable[[GraphProto, Sequence[Tensor], OnValue], None]
"""Runs the module on inputs, and reports its inner values under their names in the graph of a file."""
