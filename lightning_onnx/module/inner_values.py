"""Types of the functions that tell a module's inner values by their names in the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import GraphProto
from torch import Tensor

OnValue = Callable[[str, Tensor], None]
"""Is told the name of a value and what torch computes for it; several times where any of several will do."""

InnerValues = Callable[[GraphProto, Sequence[Tensor], OnValue], None]
"""Runs the module on inputs and tells its inner values by the names that they have in the graph of a file."""
