"""Modules that call autograd inside their method (forces of an energy, scores): the backward pass as operators."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from lightning_onnx.errors import CaptureNotApplicable
from lightning_onnx.module.flat import FlatModule


class Differentiated(nn.Module):
    """The method as operators, those of its backward pass included, with the module's own parameters.

    Args:
        flat: The module.
        tensors: Inputs to trace with; sizes stay symbols.

    Raises:
        NeedlessError: If the method takes no derivative, so that ``torch.export`` is the better way.
    """

    def __init__(self, flat: FlatModule, tensors: tuple[Tensor, ...]) -> None:
        super().__init__()
        if not _differentiates(flat, tensors):
            raise CaptureNotApplicable("the method takes no derivative")
        self.module = flat.module
        self.training = False

        def call(weights: dict[str, Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
            found = torch.func.functional_call(flat, weights, inputs)
            return tuple(t.detach() for t in found)

        known: Any = torch.export.default_decompositions()
        rules = {operator: rule for operator, rule in known.items() if "backward" in str(operator)}
        trace = make_fx(call, rules, tracing_mode="symbolic", _allow_non_fake_inputs=True)
        traced = trace(self._weights(), *tensors)
        self.__dict__["_traced"] = traced  # no part of its own

    _traced: Any

    def _weights(self) -> dict[str, Tensor]:
        return {
            **dict(self.named_parameters(remove_duplicate=False)),
            **dict(self.named_buffers(remove_duplicate=False)),
        }

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return what the method does."""
        found: tuple[Tensor, ...] = tuple(self._traced(self._weights(), *tensors))
        return found


def _differentiates(flat: FlatModule, tensors: tuple[Tensor, ...]) -> bool:
    with (
        mock.patch.object(torch.autograd, "grad", wraps=torch.autograd.grad) as grad,
        mock.patch.object(torch.autograd, "backward", wraps=torch.autograd.backward) as backward,
    ):
        flat.reference(tensors)
    return grad.called or backward.called
