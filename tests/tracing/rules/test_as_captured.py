"""A program is decomposed only if an operator asks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.onnx._internal.exporter import _decomp, _registration

import lightning_onnx
from lightning_onnx.tracing.engines import ENGINES
from lightning_onnx.tracing.rules import table
from lightning_onnx.tracing.rules.as_captured import needs_no_run
from tests.tracing.making import as_torch_writes, made


class Calls(nn.Module):
    """Calls a function between two layers."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.first, self.last = nn.Linear(4, 6), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))


def captured(function: Callable[[Tensor], Tensor]) -> torch.export.ExportedProgram:
    return torch.export.export(Calls(function), (torch.randn(3, 4),), dynamic_shapes=({0: torch.export.Dim.AUTO},))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.softmax(-1) * x.shape[0], True),
        (lambda x: x.relu_(), False),
        (lambda x: x.float() + x.double(), False),
        (lambda x: x.clamp(min=0), False),
        (lambda x: nn.functional.dropout(x.unflatten(1, (2, 3)).reshape(-1, 6), training=False), True),
        (lambda x: nn.functional.dropout(x, training=True), False),
        (lambda x: torch.cat(x.chunk(2, 0)), False),
        (lambda x: x.sigmoid(), True),
        (lambda x: x.sigmoid().log(), False),
        (lambda x: torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,)), False),
    ],
    ids=[
        *("translated", "in place", "decomposed", "by a rule", "composite", "dropout in training", "chunk"),
        *("by no rule", "by a rule of the program", "with a branch"),
    ],
)
def test_which_programs_need_no_run(function: Callable[[Tensor], Tensor], expected: bool) -> None:
    registry = _registration.ONNXRegistry.from_torchlib()
    translated = _decomp.get_onnx_implemented_overloads(registry)
    assert needs_no_run(captured(function), set(translated), table.RULES) is expected


def test_no_dropout_is_in_a_file(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.LayerNorm(6), nn.Dropout())
    made = lightning_onnx.export(module, torch.randn(3, 4), directory=tmp_path / "made")
    assert [node.op_type for node in onnx.load(made.model_path).graph.node] == ["Gemm", "LayerNormalization"]


def test_an_input_that_only_dead_code_reads_is_not_used() -> None:
    class Reads(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            (y * 2).sum(1)
            return x.softmax(-1)

    flat, request = made(Reads(), torch.randn(3, 4), torch.randn(3, 5))
    traced = ENGINES["dynamo"][0].trace(flat, request, 20, {})
    assert traced.unused_inputs == (1,)


def test_the_file_is_right_and_the_program_unchanged() -> None:
    program = captured(lambda x: x.softmax(-1) * x.shape[0])
    before = str(program.graph)
    written = as_torch_writes(program, rules=table.RULES, custom_translation_table=table.translations())
    assert str(program.graph) == before
    x = torch.randn(7, 4)
    (found,) = onnxruntime.InferenceSession(written.model_proto.SerializeToString()).run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), program.module()(x), rtol=1e-5, atol=1e-5)
