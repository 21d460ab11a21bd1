"""The TorchScript based engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx.tracing.torchscript import TorchScriptEngine
from tests import outside
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


class Writes(nn.Module):
    """Writes to columns, as forecasting networks shift their targets."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("columns", torch.tensor([2, 0]))

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        if self.kind == "tensor":
            y[..., self.columns] = torch.roll(x[..., self.columns], 1, 1)
        elif self.kind == "list":
            y[..., [0, 2]] = -1.0
        elif self.kind == "first":
            y[self.columns, ...] = x[self.columns + 1]
        else:
            y[..., 0] = x[..., 1]
        return y


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tensor", "list", "first", "number"])
def test_writes_beside_an_ellipsis(kind: str, tmp_path: Path) -> None:
    module = Writes(kind)
    axes = {"x": {0: "batch", 1: "time"}}
    made_file = lightning_onnx.export(
        module, torch.randn(4, 5, 3), directory=tmp_path / "made", engine="torchscript", dynamic_axes=axes
    )
    x = torch.randn(6, 7, 3)
    np.testing.assert_allclose(outside.run(made_file.model_path, x=x)[0], module(x))
