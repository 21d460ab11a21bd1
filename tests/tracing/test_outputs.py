"""Outputs that are weights or inputs themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx.tracing.captures.torch_export import TorchExport
from lightning_onnx.tracing.dynamo import DynamoEngine
from tests import outside
from tests.tracing.making import made


class Prototypes(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.net = kind, nn.Linear(6, 8)
        self.prototypes = nn.Parameter(torch.randn(5, 8))
        self.parts = nn.ParameterList([nn.Parameter(torch.randn(2)) for _ in range(3)])
        self.register_buffer("scale", torch.rand(3))

    def forward(self, x: Tensor) -> Any:
        distances = torch.cdist(self.net(x), self.prototypes)
        return {
            "parameter": (distances, self.prototypes),
            "twice": (distances, self.prototypes, self.prototypes),
            "list": (distances, list(self.parts)),
            "buffers": {"distances": distances, **dict(self.named_buffers())},
            "of a layer": (x, distances, self.net.weight, self.net.bias),
        }[self.kind]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parameter", "twice", "list", "buffers", "of a layer"])
def test_outputs_that_are_weights(kind: str, tmp_path: Path) -> None:
    module = Prototypes(kind)
    made = lightning_onnx.export(module, torch.randn(4, 6), directory=tmp_path / "made", engine="dynamo")
    for rows in (1, 7):
        x = torch.randn(rows, 6)
        expected = torch.utils._pytree.tree_leaves(module(x))
        for got, wanted in zip(outside.run(made.model_path, x=x), expected, strict=True):
            np.testing.assert_allclose(got, wanted.detach(), atol=1e-5)


@pytest.mark.slow
def test_an_output_that_is_a_weight_keeps_the_recipe_of_the_weight() -> None:
    flat, request = made(Prototypes("parameter"), torch.randn(2, 6), output_names=("distances", "prototypes"))
    traced = DynamoEngine(TorchExport()).trace(flat, request, 18, {})
    assert {"module.prototypes", "module.net.bias"} <= set(traced.first.recipes)
