"""``int(tensor)`` as a number that the graph computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.tracing.base import tracing
from lightning_onnx.tracing.captures.base import dynamic_shapes_of
from lightning_onnx.tracing.captures.symbolic_int import SymbolicInt
from tests.tracing.making import made


class Counts(nn.Module):
    def forward(self, group: Tensor) -> Tensor:
        return torch.zeros(int(group.max()) + 1).index_add(0, group, torch.ones(len(group)))


@pytest.mark.slow
def test_a_size_that_is_the_number_of_a_tensor_stays_free() -> None:
    flat, request = made(Counts(), torch.tensor([0, 0, 1, 2]), axes=({0: "rows"},))
    with tracing("dynamo"):
        program = SymbolicInt().capture(flat, request.tensors, dynamic_shapes_of(request.axes)).program
    assert program is not None
    (got,) = program.module()(torch.tensor([4, 4, 0, 1, 1, 1]))
    assert got.tolist() == [1, 3, 0, 0, 2]
