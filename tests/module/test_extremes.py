"""The smallest and the largest sizes that a module takes are tried, and hinted sizes."""

from __future__ import annotations

from typing import Any

import torch

from lightning_onnx.module.calls.request import Request, derive
from lightning_onnx.module.extremes import extreme_cases, first_taken
from lightning_onnx.module.runner import Runner
from tests.module.calls.observing import Applies, observed, runner_of


def asked(function: Any, x: torch.Tensor) -> tuple[Request, Runner]:
    module = Applies(function)
    observation = observed(module, (x,))
    run = runner_of(module, observation)
    return derive(observation, run, dynamic_axes={"tensors_0": {0: "batch"}}), run


def sizes(function: Any, x: torch.Tensor, **hints: list[int]) -> list[int]:
    request, run = asked(function, x)
    return [case.tensors[0].shape[0] for case in extreme_cases(request, run, hints)]


def test_the_largest_and_the_smallest() -> None:
    assert sizes(lambda x: x * 2, torch.randn(6, 3)) == [1024, 1]


def test_sizes_that_the_module_does_not_take_are_left_out() -> None:
    def between(x: torch.Tensor) -> torch.Tensor:
        assert 2 <= x.shape[0] <= 40
        return x * 2

    assert sizes(between, torch.randn(6, 3), batch=[40, 41]) == [32, 40]


def test_large_inputs_are_tried_at_no_larger_size() -> None:
    assert sizes(lambda x: x * 2, torch.randn(2, 3, 300, 300)) == [1]


def test_rows_do_not_come_in_turns() -> None:
    request, run = asked(lambda x: x * 2, torch.randn(4, 3))
    (case,) = first_taken(request, run, "batch", [64])
    parts = [part.mean(0) for part in case.tensors[0].split(16)]
    assert not torch.allclose(parts[1], parts[2])
    assert {tuple(row.tolist()) for row in case.tensors[0]} == {
        tuple(row.tolist()) for row in request.sample.tensors[0]
    }
