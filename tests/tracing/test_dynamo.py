"""The torch.export based engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import EngineError
from lightning_onnx.errors import CaptureNotApplicable
from lightning_onnx.tracing.captures.autograd import Autograd
from lightning_onnx.tracing.captures.exporter import Exporter
from lightning_onnx.tracing.captures.table import CAPTURES
from lightning_onnx.tracing.captures.torch_export import TorchExport
from lightning_onnx.tracing.dynamo import DynamoEngine
from tests.tracing.making import made


def test_only_captures_that_follow_values_wait_for_a_refusal() -> None:
    for capture in CAPTURES:
        engine = DynamoEngine(capture)
        assert engine.follows_values == engine.needs_refusal == capture.follows_values


@pytest.mark.parametrize("capture", [TorchExport(), Exporter()])
def test_weights_that_start_equal_stay_apart(capture: Any) -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    for layer in (net[0], net[2]):
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    flat, request = made(net, torch.randn(2, 3))
    traced = DynamoEngine(capture).trace(flat, request, 18, {})
    assert {name for name in traced.first.recipes if name.endswith("bias")} == {"module.0.bias", "module.2.bias"}
    assert list(traced.symbols.values()) == ["batch"]
    assert traced.trace_again is None


def test_a_capture_that_is_for_other_modules_is_an_engine_error() -> None:
    flat, request = made(nn.Linear(3, 3), torch.randn(2, 3))
    with pytest.raises(EngineError, match="takes no derivative") as caught:
        DynamoEngine(Autograd()).trace(flat, request, 18, {})
    assert isinstance(caught.value.__cause__, CaptureNotApplicable)


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


def test_a_translation_of_the_users_own() -> None:
    from onnxscript import opset18 as op

    table = {torch.ops.aten.sin.default: lambda x: op.Cos(x)}
    flat, request = made(Sine(), torch.randn(2, 3))
    traced = DynamoEngine(TorchExport()).trace(flat, request, 18, {"custom_translation_table": table})
    assert "Cos" in [node.op_type for node in traced.first.model.graph]
