"""Every capture returns a program that computes the same as the module, or raises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.errors import CaptureNotApplicable
from lightning_onnx.tracing.base import tracing
from lightning_onnx.tracing.captures.base import Capture, dynamic_shapes_of
from lightning_onnx.tracing.captures.table import CAPTURES
from tests.tracing.making import made


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(self.net(x)).abs()


class Force(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.net(x).square().sum(), x)[0]


@pytest.mark.slow
@pytest.mark.parametrize("module", [nn.Linear, Complex, Force])
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: type(capture).__name__)
def test_a_program_computes_the_same_as_the_module(capture: Capture, module: Any) -> None:
    net = nn.Linear(5, 2) if module is nn.Linear else module()
    flat, request = made(net, torch.randn(3, 5))
    before = flat.state_dict()
    try:
        with tracing("dynamo"):
            captured = capture.capture(flat, request.tensors, dynamic_shapes_of(request.axes))
    except Exception as error:
        cause: Any = error.__cause__
        assert isinstance(cause, CaptureNotApplicable) or module is not nn.Linear
        return
    assert flat.state_dict().keys() == before.keys()
    weights = captured.weights(flat)
    assert before.keys() <= weights.keys()
    if captured.program is not None:
        x = torch.randn(4, 5)
        (got,) = captured.program.module()(x)
        torch.testing.assert_close(got, flat.reference([x])[0])


def test_each_class_is_once_in_the_table() -> None:
    assert len({type(capture) for capture in CAPTURES}) == len(CAPTURES)
