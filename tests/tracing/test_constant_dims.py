"""The line that makes a dim constant; fails when the log of torch that is read has changed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lightning_onnx
from lightning_onnx import EngineError
from lightning_onnx.tracing.captures.base import dynamic_shapes_of
from lightning_onnx.tracing.constant_dims import find_lines
from tests.tracing.making import made

AXES = {"x": {0: "batch", 1: "length"}}


class ReadsSize(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * [0, 1, 2, 3, 4, 5, 6, 7][int(x.shape[1])]  # the line that fixes it


@pytest.mark.slow
def test_the_error_names_the_line_that_makes_a_dim_constant(tmp_path: Path) -> None:
    line = ReadsSize.forward.__code__.co_firstlineno + 1
    told = rf"dim 1 of input 'x' \(length\) is static.*constant \(6\) at test_constant_dims\.py:{line}\."
    with pytest.raises(EngineError, match=told):
        lightning_onnx.export(ReadsSize(), torch.randn(2, 6, 4), directory=tmp_path / "x", dynamic_axes=AXES)


def test_the_log_is_as_before() -> None:
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before = logger.level, list(logger.filters)
    flat, request = made(ReadsSize(), torch.randn(2, 6, 4), axes=({0: "batch", 1: "length"},))
    lines = find_lines(flat, request, dynamic_shapes_of(request.axes))
    line = ReadsSize.forward.__code__.co_firstlineno + 1
    assert lines == {"length": f"test_constant_dims.py:{line}"}
    assert (logger.level, list(logger.filters)) == before
