"""Capture the backward pass too, for modules that call autograd inside their method: forces of an energy, scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from lightning_onnx.errors import CaptureNotApplicable
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.captures.base import Captured, DynamicShapes, export_program
from lightning_onnx.tracing.patches.derivatives import takes_derivative
from lightning_onnx.tracing.patches.table import patched


class Autograd:
    """Traces below autograd first, which turns the backward pass into operators, and exports the result."""

    follows_values = False

    def capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """See ``Capture.capture``."""
        if not _takes_derivative(module, tensors):
            raise CaptureNotApplicable("the method takes no derivative")
        return Captured(export_program(Differentiated(module, tensors), tensors, dynamic_shapes))


class Differentiated(nn.Module):
    """The method as operators, those of its backward pass included, with the module's own parameters.

    Args:
        flat: The module.
        tensors: Inputs to trace with; their sizes stay symbols.
    """

    __module__ = "lightning_onnx.derivatives"  # files name the class of a node's module: it stays when this file moves
    _traced: fx.GraphModule

    def __init__(self, flat: FlatModule, tensors: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.module = flat.module
        self.training = False

        def call(weights: dict[str, Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
            found = torch.func.functional_call(flat, weights, inputs)
            return tuple(t.detach() for t in found)

        trace = make_fx(call, _backward_rules(), tracing_mode="symbolic", _allow_non_fake_inputs=True)
        self.__dict__["_traced"] = trace(self._weights(), *tensors)  # not registered: its weights are those of `module`

    def _weights(self) -> dict[str, Tensor]:
        return {
            **dict(self.named_parameters(remove_duplicate=False)),
            **dict(self.named_buffers(remove_duplicate=False)),
        }

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return what the method returns."""
        return tuple(self._traced(self._weights(), *tensors))


def _backward_rules() -> dict[Any, Callable[..., Any]]:
    """Return torch's decompositions of the operators that only a backward pass has."""
    known: Mapping[Any, Callable[..., Any]] = torch.export.default_decompositions()
    return {operator: rule for operator, rule in known.items() if "backward" in str(operator)}


def _takes_derivative(flat: FlatModule, tensors: tuple[Tensor, ...]) -> bool:
    with patched("derivatives"):
        return takes_derivative(lambda: flat.reference(tensors))
