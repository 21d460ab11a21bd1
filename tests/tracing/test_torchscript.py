"""The TorchScript based engine."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.tracing.torchscript import TorchScriptEngine
from tests.tracing.making import made


class First(nn.Module):
    def forward(self, x: Tensor, unused: Tensor) -> Tensor:
        return x + 1


@pytest.mark.parametrize("opset_version", [13, 18])
def test_an_unused_input_stays(opset_version: int) -> None:
    flat, request = made(First(), torch.randn(2, 3), torch.zeros(2, dtype=torch.int64))
    traced = TorchScriptEngine().trace(flat, request, opset_version, {})
    model = traced.first.model
    assert [value.name for value in model.graph.inputs] == ["x0", "x1"]
    assert str(model.graph.inputs[1].dtype) == "INT64"
    assert traced.unused_inputs == (1,)
    assert model.graph.opset_imports[""] == opset_version
