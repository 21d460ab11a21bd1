"""Modules that call autograd inside their method."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.errors import CaptureNotApplicable
from lightning_onnx.tracing.captures.autograd import Autograd
from lightning_onnx.tracing.captures.base import dynamic_shapes_of
from tests.tracing.captures.refreshing import check_other_weights
from tests.tracing.making import made


class Forces(nn.Module):
    """The gradient of an energy by the places, and of its norm by them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.LayerNorm(8), nn.Linear(8, 1), nn.Softplus())

    def forward(self, place: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            place = place.detach().requires_grad_()
            energy = self.net(place).sum((1, 2))
            (force,) = torch.autograd.grad(energy.sum(), place, create_graph=True)
            (second,) = torch.autograd.grad(force.square().sum(), place)
        return energy, second - force


@pytest.mark.slow
def test_other_weights_in_one_graph(tmp_path: Path) -> None:
    check_other_weights(Forces(), torch.randn(2, 4, 3), tmp_path)


def test_a_method_without_derivatives() -> None:
    flat, request = made(nn.Linear(3, 2), torch.randn(2, 3))
    grad = torch.autograd.grad
    with pytest.raises(CaptureNotApplicable, match="takes no derivative"):
        Autograd().capture(flat, request.tensors, dynamic_shapes_of(request.axes))
    assert torch.autograd.grad is grad
