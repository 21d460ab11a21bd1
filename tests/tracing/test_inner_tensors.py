"""Weights of a class of tensors that keeps its values in other tensors, as int8 weights do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from tests import outside

aten = torch.ops.aten


class Quantized(Tensor):
    """Integers and a scale for each row; operators compute with their product."""

    integers: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls, integers: Tensor, scale: Tensor) -> Any:
        return Tensor._make_wrapper_subclass(cls, integers.shape, dtype=scale.dtype)

    def __init__(self, integers: Tensor, scale: Tensor) -> None:
        self.integers, self.scale = integers, scale

    def __tensor_flatten__(self) -> Any:
        return ["integers", "scale"], None

    @classmethod
    def __tensor_unflatten__(cls, inner: Any, context: Any, size: Any, stride: Any) -> Any:
        return cls(inner["integers"], inner["scale"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (aten.detach.default, aten.clone.default, aten.alias.default, aten._to_copy.default):
            return cls(args[0].integers.clone(), args[0].scale.clone())
        plain = torch.utils._pytree.tree_map(
            lambda a: a.integers.to(a.scale.dtype) * a.scale if isinstance(a, cls) else a, args
        )
        return func(*plain, **(kwargs or {}))


@pytest.mark.slow
def test_weights_of_a_class_of_tensors(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    weight = module[0].weight.detach()
    scale = weight.abs().amax(1, keepdim=True) / 127
    module[0].weight = nn.Parameter(Quantized((weight / scale).round().to(torch.int8), scale), requires_grad=False)
    made = lightning_onnx.export(module, torch.randn(4, 6), directory=tmp_path / "made")
    assert made.passed
    for rows in (1, 7):
        x = torch.randn(rows, 6)
        np.testing.assert_allclose(outside.run(made.model_path, input=x)[0], module(x).detach(), atol=1e-5)
