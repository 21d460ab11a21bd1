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
from lightning_onnx.tracing.refusals import Refusals
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
    remembered = Remembered(engine, Refusals())
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
    remembered = Remembered(engine, Refusals())
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


@pytest.mark.parametrize(("cause", "traces"), [(ValueError("no"), 1), (MemoryError(), 3)])
def test_a_refusal_is_remembered_for_the_run_unless_its_cause_may_pass(cause: Exception, traces: int) -> None:
    class Refusing(Counting):
        def trace(self, *args: Any) -> Traced:
            self.traces += 1
            raise EngineError("it refuses") from cause

    engine, refusals = Refusing(), Refusals()
    request = made(Half(), torch.ones(2, 3))[1]
    further = dataclasses.replace(request, axes=({0: "batch", 1: "time"},))
    for asked in (request, request, further):  # whoever refuses a dim refuses it with a second one
        with pytest.raises(EngineError, match="it refuses"):
            Remembered(engine, refusals).trace(made(Half(), torch.ones(2, 3))[0], asked, OPSET, {})
    assert engine.traces == traces
    remembered = Remembered(engine, refusals)
    assert (remembered.name, remembered.needs_refusal) == ("dynamo", False)


@pytest.mark.parametrize("change", ["fewer dims", "sizes", "dtype", "opset", "options", "attribute"])
def test_what_was_not_refused_is_asked(change: str) -> None:
    class Refusing(Counting):
        def trace(self, *args: Any) -> Traced:
            self.traces += 1
            raise EngineError("it refuses")

    class Times(nn.Module):
        factor = 2.0

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    engine, module = Refusing(), Times()
    remembered = Remembered(engine, Refusals())
    flat, request = made(module, torch.ones(2, 3))
    other, opset, options = request, OPSET, dict[str, Any]()
    with pytest.raises(EngineError):
        remembered.trace(flat, request, OPSET, {})
    if change == "fewer dims":
        other = dataclasses.replace(request, axes=({},))
    elif change in ("sizes", "dtype"):
        tensor = torch.ones(4, 3) if change == "sizes" else torch.ones(2, 3, dtype=torch.float64)
        other = dataclasses.replace(request, tensors=(tensor,))
    elif change == "opset":
        opset += 1
    elif change == "options":
        options["keep_initializers_as_inputs"] = True
    else:
        module.factor = 3.0
    with pytest.raises(EngineError):
        remembered.trace(flat, other, opset, options)
    assert engine.traces == 2
