"""Margins: how far conditions are from flipping."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.module.decisions.margins import gradients
from lightning_onnx.module.decisions.record import record
from tests.tracing.making import made

SCORES = torch.tensor([[1.0, 0.5], [0.25, -1.0]])

FALSE: dict[str, Callable[[Tensor], object]] = {
    "gt": lambda x: bool(x.mean() > 5),
    "lt": lambda x: bool(x.mean().lt(-5)),
    "not": lambda x: bool(~(x.mean() < 5)),
    "all": lambda x: bool((x > 2).all()),
    "any of a dim": lambda x: bool((x > 2).any(1).all()),
    "count": lambda x: bool((x > 2).sum() > 1),
    "share": lambda x: bool((x > 2).float().mean() > 0.5),
    "and": lambda x: bool((x.mean() > 5) & (x.max() > 0)),
    "argmax": lambda x: bool((x.argmax(-1) == 1).all()),
    "max": lambda x: bool((x.max(-1).indices == 1).all()),
    "or with constants": lambda x: bool((torch.zeros(2, dtype=torch.bool) | (x.argmax(-1) == 1)).all()),
}


@pytest.mark.parametrize("name", FALSE)
def test_a_step_along_the_gradient_makes_a_condition_true(name: str) -> None:
    class Module(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            FALSE[name](x)
            return x * 2

    flat, request = made(Module(), SCORES)
    (site,) = record(flat, request.tensors).sites()
    x = request.tensors[0]
    for _ in range(3):
        found = gradients(flat, [x], site)
        assert found is not None
        _, (grad,) = found
        assert grad is not None
        if FALSE[name](x + 30 * grad / grad.norm()):
            return
        x = x + 4 * grad / grad.norm()
    raise AssertionError(name)


def test_detached_inputs_and_integers_have_no_gradient() -> None:
    class Module(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.detach().numpy().sum() > 0 else x

    flat, request = made(Module(), SCORES)
    (site,) = record(flat, request.tensors).sites()
    assert gradients(flat, request.tensors, site) is None
