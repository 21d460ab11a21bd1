"""Modules that make decisions based on tensor values."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx.tracing.base import tracing
from lightning_onnx.tracing.captures.base import dynamic_shapes_of
from lightning_onnx.tracing.captures.traced_values import TracedValues
from tests.tracing.making import made


class Pooled(nn.Module):
    """The mean of each group; the group numbers determine how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 4)

    def forward(self, x: Tensor, group: Tensor) -> Tensor:
        number = int(group.max()) + 1
        total = torch.zeros(number, 4).index_add(0, group, self.net(x))
        if total.shape[0] == 1:  # a decision based on a value
            return total / len(group)
        return total / torch.bincount(group, minlength=number).clamp(min=1).unsqueeze(1)


@pytest.mark.slow
def test_decisions_by_values_keep_those_of_the_traced_call_and_say_so(tmp_path: Path) -> None:
    module, group = Pooled(), torch.tensor([0, 0, 1, 1, 1, 2, 2])
    axes = {"x": {0: "nodes"}, "group": {0: "nodes"}}
    artifact = lightning_onnx.export(
        module, (torch.randn(7, 3), group), directory=tmp_path / "made", dynamic_axes=axes, engine="dynamo"
    )
    assert any("makes a decision based on tensor values" in note for note in artifact.manifest["notes"])
    session = onnxruntime.InferenceSession(artifact.model_path)
    x, group = torch.randn(9, 3), torch.tensor([0, 1, 1, 2, 2, 3, 3, 4, 4])
    (got,) = session.run(None, {"x": x.numpy(), "group": group.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), module(x, group).detach(), rtol=1e-4, atol=1e-5)


class Broadcasts(nn.Module):
    """Adds a number of rows given by a value; torch cannot know that it is not 1."""

    def forward(self, x: Tensor, number: Tensor) -> Tensor:
        return x + torch.zeros(int(number.max()), 3)


@pytest.mark.slow
def test_no_real_values_are_left_in_the_program() -> None:
    flat, request = made(Broadcasts(), torch.randn(4, 3), torch.tensor([2, 4]), axes=({0: "rows"}, {}))
    with tracing("dynamo"):
        program = TracedValues().capture(flat, request.tensors, dynamic_shapes_of(request.axes)).program
    assert program is not None
    values = [node.meta["val"] for node in program.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    assert values
    assert not any(value.fake_mode.propagate_real_tensors for value in values)
