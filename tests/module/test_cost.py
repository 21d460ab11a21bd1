"""How many rows a check can afford."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.cost import affordable_cases, affordable_rows
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.runner import Runner


def runner(module: nn.Module, x: Tensor) -> Runner:
    return Runner(FlatModule(module, "forward", sample_of(module, "forward", ((x,), {}))))


def rows(module: nn.Module, x: Tensor) -> int:
    return affordable_rows(runner(module, x), [x], len(x))


def test_operations_and_input_elements_limit_the_rows() -> None:
    assert rows(nn.Linear(1000, 1000), torch.zeros(2, 1000)) == 2**22 // 1000
    assert rows(nn.Sequential(*[nn.Linear(100, 10**5), nn.Linear(10**5, 100)] * 10), torch.zeros(2, 100)) == 100
    assert rows(nn.Identity(), torch.zeros(1, 2**23)) == 1


def test_a_module_that_cannot_be_counted_is_bounded_by_its_inputs() -> None:
    class Raises(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError

    assert rows(Raises(), torch.zeros(2, 2**20)) == 4


def test_an_expensive_call_is_run_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_onnx.module.cost._FLOPS_OF_ALL", 10**6)
    x = torch.zeros(10, 100)
    run = runner(nn.Linear(100, 100), x)
    assert run.flops([x]) == 2 * 10 * 100 * 100
    assert affordable_cases(run, [x]) == 5
    assert affordable_cases(run, [x.repeat(4, 1)]) == 4
