"""What a captured program says about the dims of its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx.tracing.base import AssumedRange
from lightning_onnx.tracing.captures.base import dynamic_shapes_of, export_program
from lightning_onnx.tracing.dims import ProgramDims, dims_of
from tests import outside
from tests.tracing.making import made

AXES = {"x": {0: "batch", 1: "length"}}


class MultipleOfTwo(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.reshape(x.shape[0], x.shape[1] // 2, 2, 4).sum(2)


@pytest.mark.slow
def test_relation_is_kept_and_reported(tmp_path: Path) -> None:
    artifact = lightning_onnx.export(MultipleOfTwo(), torch.randn(2, 6, 4), directory=tmp_path / "x", dynamic_axes=AXES)
    assert artifact.manifest["relations"] == ["length is a multiple of 2"]
    assert artifact.manifest["model"]["engine"] == "dynamo"
    x = torch.randn(3, 10, 4)
    np.testing.assert_allclose(outside.run(artifact.model_path, x=x)[0], MultipleOfTwo()(x), atol=1e-6)


def dims(module: nn.Module, *tensors: Tensor, axes: tuple[dict[int, str], ...]) -> ProgramDims:
    flat, request = made(module, *tensors, axes=axes)
    return dims_of(export_program(flat, request.tensors, dynamic_shapes_of(axes)), request)


class Adds(nn.Module):
    def forward(self, x: Tensor, y: Tensor, unused: Tensor) -> Tensor:
        return x + y


def test_dims_of_equal_size_share_a_symbol() -> None:
    found = dims(Adds(), *(torch.randn(4, 3) for _ in range(3)), axes=({0: "a"}, {0: "b"}, {0: "c"}))
    assert list(found.symbols.values()) == ["a", "c"]
    assert found.relations == ("b equals a",)
    assert found.constant == ()


def test_an_input_that_nothing_reads_is_unused() -> None:
    found = dims(Adds(), *(torch.randn(4, 3) for _ in range(3)), axes=({0: "a"}, {0: "a"}, {0: "a"}))
    assert found.unused_inputs == (2,)


class OnlyFour(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(4)


def test_a_dim_of_one_possible_size_is_constant() -> None:
    found = dims(OnlyFour(), torch.randn(3, 4), axes=({0: "rows", 1: "columns"},))
    assert [(c.dim, c.size) for c in found.constant] == [("columns", 4)]
    assert list(found.symbols.values()) == ["rows"]


class Chunks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([c - c.mean(0) for c in x.split(5)])


def test_a_range_that_torch_assumes_is_read() -> None:
    assert dims(Chunks(), torch.randn(2, 3), axes=({0: "batch"},)).ranges == (AssumedRange("batch", None, 5),)
    assert dims(Adds(), *(torch.randn(4, 3) for _ in range(3)), axes=({0: "a"}, {}, {})).ranges == ()
