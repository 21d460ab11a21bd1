"""Graphs of several sizes are joined; each engine's weights stay exchangeable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.tracing.base import Engine
from lightning_onnx.tracing.conditions import SizeCondition
from lightning_onnx.tracing.engines import ENGINES
from lightning_onnx.tracing.graph import Graph
from lightning_onnx.tracing.piecewise import Piece, Piecewise
from tests import outside
from tests.tracing.making import made


class Sizes(nn.Module):
    """Takes a different branch at each of three sizes; one branch returns the input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] <= 3:
            return self.first(x) + 2
        return x if x.shape[0] <= 6 else self.second(self.first(x)) + 3


@pytest.mark.slow
@pytest.mark.parametrize("engine", [ENGINES["dynamo"][0], ENGINES["torchscript"][0]], ids=["dynamo", "torchscript"])
def test_each_size_has_its_graph(engine: Engine, tmp_path: Path) -> None:
    module = Sizes().eval()
    flat, request = made(module, torch.randn(2, 4), axes=({0: "batch"},))
    three, six = (SizeCondition(f"batch <= {last}", (("batch", "batch"),)) for last in (3, 6))
    pieces = (Piece({"batch": 2}), Piece({"batch": 4}, unless=three), Piece({"batch": 8}, unless=six))
    traced = Piecewise(engine, pieces).trace(flat, request, 18, {})
    shape = ("batch", 4)
    signature = Signature(
        tuple(TensorSpec(name, "float32", shape) for name in request.input_names),
        tuple(TensorSpec(name, "float32", shape) for name in request.output_names),
    )
    graph = Graph(traced, request, signature, 18)
    path = tmp_path / "model.onnx"
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.5
    graph.refresh(flat, {}, path)
    onnx.checker.check_model(str(path), full_check=True)
    for size in (1, 3, 4, 6, 7, 20):
        x = torch.randn(size, 4)
        (got,) = outside.run(path, **{request.input_names[0]: x.numpy()})
        np.testing.assert_allclose(got, to_numpy(module(x)), rtol=1e-5, atol=1e-5)
    stored = [tuple(tensor.dims) for tensor in onnx.load(path).graph.initializer]
    assert stored.count((4, 4)) <= 3  # shared by the branches
