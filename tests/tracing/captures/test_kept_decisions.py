"""Lines at which a program keeps a decision of the traced values."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.tracing.base import tracing
from lightning_onnx.tracing.captures.base import Capture, dynamic_shapes_of
from lightning_onnx.tracing.captures.symbolic_int import SymbolicInt
from lightning_onnx.tracing.captures.traced_values import TracedValues
from lightning_onnx.tracing.torchscript import TorchScriptEngine
from tests.tracing.making import made


class Counted(nn.Module):
    """Branches on a number that it reads."""

    def forward(self, x: Tensor) -> Tensor:
        number = (x > 0).sum().item()
        if number > 2:
            return x * 2
        return x * 3


LINE = f"test_kept_decisions.py:{Counted.forward.__code__.co_firstlineno + 2}"


@pytest.mark.slow
@pytest.mark.parametrize("capture", [TracedValues(), SymbolicInt()])
def test_the_line_of_a_condition_is_found_and_logging_is_restored(capture: Capture) -> None:
    flat, request = made(Counted(), torch.ones(2, 3))
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = (logger.level, list(logger.filters))
    with tracing("dynamo"):
        captured = capture.capture(flat, request.tensors, dynamic_shapes_of(request.axes))
    assert captured.kept == (LINE,)
    assert (logger.level, list(logger.filters)) == before


class Pooled(nn.Module):
    """Makes a tensor with a number of rows by values, and may ask itself whether it has any."""

    def __init__(self, asks: bool) -> None:
        super().__init__()
        self.norm, self.asks = nn.BatchNorm1d(4), asks

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        rows = torch.zeros(graph.max() + 1, 4).index_add(0, graph, x)
        if self.asks and rows.numel() == 0:
            return x
        return self.norm(rows)


@pytest.mark.slow
@pytest.mark.parametrize("capture", [TracedValues(), SymbolicInt()])
@pytest.mark.parametrize("asks", [False, True])
def test_a_layer_that_asks_whether_its_input_is_empty_decides_nothing(capture: Capture, asks: bool) -> None:
    flat, request = made(Pooled(asks).eval(), torch.ones(5, 4), torch.tensor([0, 0, 1, 1, 2]), axes=({}, {}))
    with tracing("dynamo"):
        captured = capture.capture(flat, request.tensors, dynamic_shapes_of(request.axes))
    line = Pooled.forward.__code__.co_firstlineno + 2
    assert captured.kept == ((f"test_kept_decisions.py:{line}",) if asks else ())


def disable_everything() -> None:
    logging.disable(logging.CRITICAL)


def disable_existing_loggers() -> None:
    logging.getLogger("torch.fx.experimental.symbolic_shapes").disabled = True


@pytest.mark.parametrize("disable", [disable_everything, disable_existing_loggers])
def test_a_program_that_disables_logging_hides_no_decision(disable: Callable[[], None]) -> None:
    flat, request = made(Counted(), torch.ones(2, 3))
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    disable()
    try:
        with tracing("dynamo"):
            captured = TracedValues().capture(flat, request.tensors, dynamic_shapes_of(request.axes))
        assert captured.kept == (LINE,)
        assert not logger.isEnabledFor(logging.CRITICAL) or logger.disabled
    finally:
        logging.disable(logging.NOTSET)
        logger.disabled = False


def test_torchscript_reports_the_line_at_which_a_tensor_becomes_a_number() -> None:
    flat, request = made(Counted(), torch.ones(2, 3))
    traced = TorchScriptEngine().trace(flat, request, 17, {})
    assert traced.kept == (LINE.replace(LINE.rpartition(":")[2], str(int(LINE.rpartition(":")[2]) - 1)),)
