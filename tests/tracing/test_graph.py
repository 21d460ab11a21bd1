"""A traced graph with other weights, for both engines."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.tracing.base import Engine
from lightning_onnx.tracing.captures.torch_export import TorchExport
from lightning_onnx.tracing.dynamo import DynamoEngine
from lightning_onnx.tracing.graph import Graph
from lightning_onnx.tracing.torchscript import TorchScriptEngine
from tests import outside
from tests.tracing.making import made


@pytest.mark.parametrize(("engine", "refreshes"), [(DynamoEngine(TorchExport()), True), (TorchScriptEngine(), False)])
def test_other_weights_in_the_same_graph(engine: Engine, refreshes: bool, tmp_path: Path) -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Unflatten(1, (2, 2))), torch.randn(2, 3)
    flat, request = made(net, x)
    signature = Signature((TensorSpec("x0", "float32", ("batch", 3)),), (TensorSpec("y", "float32", ("batch", 2, 2)),))
    graph = Graph(engine.trace(flat, request, 18, {}), request, signature, 18)
    assert graph.refreshes == refreshes
    assert graph.last_operators == {request.output_names[0]: "Sigmoid"}
    graph.write_traced(flat, tmp_path / "traced.onnx")
    first = net(x).detach()
    nn.init.normal_(net[0].weight)
    model = graph.refresh(flat, {"key": "value"}, tmp_path / "model.onnx").model
    assert [(p.key, p.value) for p in model.metadata_props] == [("key", "value")]
    torch.testing.assert_close(torch.as_tensor(outside.run(tmp_path / "traced.onnx", x0=x)[0]), first)
    torch.testing.assert_close(torch.as_tensor(outside.run(tmp_path / "model.onnx", x0=x)[0]), net(x).detach())
    assert graph.inner_values(flat) is not None
