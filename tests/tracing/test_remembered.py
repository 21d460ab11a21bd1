"""A search traces each request once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.base import Traced
from lightning_onnx.tracing.captures.torch_export import TorchExport
from lightning_onnx.tracing.dynamo import DynamoEngine
from lightning_onnx.tracing.remembered import Remembered
from tests.tracing.making import made

OPSET = 18


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class Counting(DynamoEngine):
    """Counts its traces."""

    def __init__(self) -> None:
        super().__init__(TorchExport())
        self.traces = 0

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        self.traces += 1
        return super().trace(module, request, opset_version, options)


def test_the_same_request_is_traced_once_and_each_result_may_be_changed() -> None:
    engine = Counting()
    remembered = Remembered(engine)
    flat, request = made(Half(), torch.ones(2, 3))
    first = remembered.trace(flat, request, OPSET, {}).first.model
    nodes = [node.op_type for node in first.graph]
    first.graph.remove(list(first.graph))
    again = remembered.trace(flat, dataclasses.replace(request, tensors=(torch.ones(2, 3),)), OPSET, {}).first.model
    assert [node.op_type for node in again.graph] == nodes == ["Div"]
    assert engine.traces == 1


@pytest.mark.slow
@pytest.mark.parametrize("change", ["sizes", "values", "axes", "module"])
def test_another_request_is_traced(change: str) -> None:
    engine = Counting()
    remembered = Remembered(engine)
    flat, request = made(Half(), torch.ones(2, 3))
    remembered.trace(flat, request, OPSET, {})
    if change == "module":
        flat = made(Half(), torch.ones(2, 3))[0]
    changes: dict[str, dict[str, Any]] = {
        "sizes": {"tensors": (torch.ones(4, 3),)},
        "values": {"tensors": (torch.zeros(2, 3),)},
        "axes": {"axes": ({0: "batch", 1: "time"},)},
        "module": {},
    }
    remembered.trace(flat, dataclasses.replace(request, **changes[change]), OPSET, {})
    assert engine.traces == 2


def test_an_error_is_not_remembered() -> None:
    class Refusing(Counting):
        def trace(self, *args: Any) -> Traced:
            self.traces += 1
            raise EngineError("no")

    engine = Refusing()
    flat, request = made(Half(), torch.ones(2, 3))
    for _ in range(2):
        with pytest.raises(EngineError):
            Remembered(engine).trace(flat, request, OPSET, {})
    assert engine.traces == 2
    assert (Remembered(engine).name, Remembered(engine).needs_refusal) == ("dynamo", False)
