"""Which outputs an input changes."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_onnx.module.calls.request import derive
from lightning_onnx.module.influence import changed_outputs
from tests.module.calls.observing import Applies, observed, runner_of


def test_outputs_that_an_input_changes() -> None:
    def use(x: Tensor, y: Tensor, unused: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, ((x - y) ** 2).mean()

    module = Applies(use)
    observation = observed(module, (torch.randn(4, 3), torch.randn(4, 3), torch.randn(4)))
    run = runner_of(module, observation)
    request = derive(observation, run)
    assert [changed_outputs(run, request, i) for i in range(3)] == [{0, 1}, {1}, set()]


def test_a_random_output_depends_on_nothing_that_is_known() -> None:
    module = Applies(lambda x: x + torch.rand_like(x))
    observation = observed(module, (torch.randn(4, 3),))
    run = runner_of(module, observation)
    assert changed_outputs(run, derive(observation, run), 0) == set()
