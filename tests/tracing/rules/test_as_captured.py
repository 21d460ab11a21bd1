"""A program is decomposed only if an operator asks for it."""

from __future__ import annotations

from collections.abc import Callable

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.onnx._internal.exporter import _decomp, _registration

from lightning_onnx.tracing.rules import table
from lightning_onnx.tracing.rules.as_captured import needs_no_run
from tests.tracing.making import as_torch_writes


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
        (lambda x: x.sigmoid(), True),
        (lambda x: x.sigmoid().log(), False),
        (lambda x: torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,)), False),
    ],
    ids=["translated", "in place", "decomposed", "by a rule", "by no rule", "by the program", "with a branch"],
)
def test_which_programs_need_no_run(function: Callable[[Tensor], Tensor], expected: bool) -> None:
    registry = _registration.ONNXRegistry.from_torchlib()
    translated = _decomp.get_onnx_implemented_overloads(registry)
    assert needs_no_run(captured(function), set(translated), table.RULES) is expected


def test_the_file_is_right_and_the_program_unchanged() -> None:
    program = captured(lambda x: x.softmax(-1) * x.shape[0])
    before = str(program.graph)
    written = as_torch_writes(program, rules=table.RULES, custom_translation_table=table.translations())
    assert str(program.graph) == before
    x = torch.randn(7, 4)
    (found,) = onnxruntime.InferenceSession(written.model_proto.SerializeToString()).run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), program.module()(x), rtol=1e-5, atol=1e-5)
