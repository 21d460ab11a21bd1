"""Sizes in functions of Python; fails if torch moves a function that is replaced during a trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import lightning_onnx
from lightning_onnx.tracing.patches.functions import linspace
from tests import outside
from tests.models import Calls

pytestmark = pytest.mark.slow

CASES: dict[str, Callable[[Tensor], Tensor]] = {
    "sqrt": lambda x: x / math.sqrt(x.shape[1]),
    "log": lambda x: x * math.log(x.shape[1], 512),
    "exp": lambda x: x * math.exp(-x.shape[1] / 50),
    "linspace": lambda x: x + torch.linspace(-1, 1, x.shape[1]),
    "linspace of a share": lambda x: x.mean(1, keepdim=True) * torch.linspace(0, 1, int(x.shape[1] * 0.3 + 0.5)),
    "linspace of integers": lambda x: x + torch.linspace(0, 50, x.shape[1], dtype=torch.int64),
    "floor in double": lambda x: x.new_ones(math.floor(x.shape[1] * (70 / x.shape[1]))),
    "nearly whole": lambda x: x.new_ones(int(x.shape[1] * (32 / max(5, x.shape[1])))),
    "negative floor": lambda x: x.new_ones(60 + -x.shape[1] // 3),
    "int": lambda x: x[:, : int(x.shape[1] * 0.5)],
    "float": lambda x: x / float(x.shape[1]),
    "text cnn": lambda x: functional.max_pool1d(x[:, None], x.shape[1]).squeeze(2),
    "mean pool": lambda x: functional.avg_pool2d(x[:, None, :, None].expand(-1, 2, -1, 3), (x.shape[1], 3)),
    "chunk": lambda x: x.chunk(2, 1)[0],
    "roll": lambda x: torch.roll(x, x.shape[1] // 2, 1),
    "kthvalue": lambda x: x.kthvalue(3, 1).values,
    "searchsorted": lambda x: torch.searchsorted(x.sort(1).values, x).float(),
}


@pytest.mark.parametrize("name", CASES)
def test_size_stays_a_size(name: str, tmp_path: Path) -> None:
    module = Calls(CASES[name])
    axes = {"x": {0: "batch", 1: "length"}}
    made = lightning_onnx.export(module, torch.randn(3, 7), directory=tmp_path / "x", dynamic_axes=axes)
    assert made.manifest["model"]["engine"] == "dynamo"
    for shape in ((1, 9), (2, 64), (4, 49)):
        x = torch.randn(*shape)
        np.testing.assert_allclose(outside.run(made.model_path, x=x)[0], module(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 42, 48, 100])
def test_linspace_equals_that_of_torch(steps: int) -> None:
    found, expected = linspace(0, 1, torch.tensor(steps)), torch.linspace(0, 1, steps)
    torch.testing.assert_close(found, expected)
    assert found[-1] == expected[-1]  # in single precision, 41 * (1 / 41) is less than 1
