"""A run with symbols shows the conditions on sizes that a TorchScript trace hides."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx.tracing.symbolic_run import conditions_in_run
from tests import outside
from tests.tracing.making import made


class Special(nn.Module):
    """One size is special."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) * (2 if x.shape[0] == 23 else 1)


class CopiesAConstant(Special):
    """Makes a deep copy of a tensor, as a metric of torchmetrics does: memory without values once crashed."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + copy.deepcopy(torch.tensor(1.0))


class ReadsAValue(Special):
    """The run ends at a value that has no symbol."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + 1 if y.sum() > 0 else y


class ComparesSizes(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x.sum() + y.sum() if x.shape[0] // 2 < y.shape[0] else x.sum()


@pytest.mark.parametrize("module", [Special(), ReadsAValue()])
def test_the_condition_on_a_special_size(module: nn.Module) -> None:
    flat, request = made(module, torch.randn(2, 3))
    conditions = conditions_in_run(flat, request)
    (dim,) = request.dims
    assert any(c.holds({dim: 2}) and not c.holds({dim: 23}) and c.holds({dim: 24}) for c in conditions)


def test_conditions_between_sizes() -> None:
    flat, request = made(ComparesSizes(), torch.randn(6, 2), torch.randn(6, 2), axes=({0: "long"}, {0: "short"}))
    (condition,) = conditions_in_run(flat, request)
    assert condition.holds({"long": 6, "short": 6})
    assert not condition.holds({"long": 14, "short": 6})


@pytest.mark.parametrize("rows", [2, 23, 24])
def test_a_special_size_is_right_with_torchscript(rows: int, special: tuple[nn.Module, Path]) -> None:
    module, model_path = special
    x = torch.randn(rows, 3)
    (y,) = outside.run(model_path, x=x)
    torch.testing.assert_close(torch.tensor(y), module(x).detach())


@pytest.fixture(scope="module")
def special(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    module, directory = Special().eval(), tmp_path_factory.mktemp("special") / "made"
    artifact = lightning_onnx.export(
        module, torch.randn(2, 3), directory=directory, engine="torchscript", dynamic_axes={"x": {0: "n"}}
    )
    assert artifact.passed
    return module, artifact.model_path


@pytest.mark.slow
def test_a_method_that_copies_tensors_does_not_crash() -> None:
    code = """
import gc, torch
from lightning_onnx.tracing.symbolic_run import conditions_in_run
from tests.tracing.making import made
from tests.tracing.test_symbolic_run import CopiesAConstant
flat, request = made(CopiesAConstant(), torch.ones(4, 3))
found = [conditions_in_run(flat, request) for _ in range(10)][-1]
gc.collect()
assert found, "the condition on the size"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
