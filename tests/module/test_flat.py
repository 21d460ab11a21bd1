"""The module on flat tensors: outputs with their paths, rounding, random numbers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.runner import Runner


def flat(module: nn.Module, *tensors: Tensor, is_stochastic: bool = True) -> FlatModule:
    return FlatModule(module.eval(), "forward", sample_of(module, "forward", (tensors, {})), is_stochastic)


class Nested(nn.Module):
    def forward(self, x: Tensor) -> Any:
        x += 1  # into its input
        return {"a": x, "flag": True, "b": [x * 2, None]}


def test_outputs_come_with_their_paths_and_inputs_stay() -> None:
    x = torch.zeros(2)
    outputs = flat(Nested(), x).outputs([x])
    assert outputs.paths == (("a",), ("b", "0"))
    assert [t.tolist() for t in outputs.tensors] == [[1, 1], [2, 2]]
    assert x.tolist() == [0, 0]
    assert not any(t.requires_grad for t in outputs.tensors)


def test_perturbed_differs_by_rounding_and_each_seed_differently() -> None:
    module, x = nn.Linear(4, 3), torch.randn(2, 4)
    (expected,) = flat(module, x).reference([x])
    first, again, other = (flat(module, x).perturbed([x], seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, expected)
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-5)


class Draws(nn.Module):
    def __init__(self, draw: Any) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        return x + float(self.draw())


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(1)])
def test_random_numbers_are_detected_and_the_state_is_restored(draw: Any) -> None:
    x = torch.zeros(2)
    module = flat(Draws(draw), x)
    assert not module.has_drawn
    first, second = (module.reference([x])[0] for _ in range(2))
    assert torch.equal(first, second)
    assert module.has_drawn


class DrawsFromItsOwn(nn.Module):
    def __init__(self, generator: Any, draw: Any) -> None:
        super().__init__()
        self.generator, self.draw = generator, draw

    def forward(self, x: Tensor) -> Tensor:
        return x + self.draw(self.generator)


@pytest.mark.parametrize(
    ("generator", "draw"),
    [
        (torch.Generator().manual_seed(3), lambda g: torch.rand(1, generator=g)),
        (np.random.default_rng(3), lambda g: g.random()),
        (np.random.RandomState(3), lambda g: g.random_sample()),
        (random.Random(3), lambda g: g.random()),
    ],
)
def test_a_generator_of_the_modules_own(generator: Any, draw: Any) -> None:
    x = torch.zeros(2)
    module = flat(DrawsFromItsOwn(generator, draw), x)
    first = module.reference([x])[0]
    assert torch.equal(module.reference([x])[0], first), "each call starts from the same state"
    assert not torch.equal(module.redrawn([x])[0], first)
    assert not torch.equal(module.redrawn([x], 2)[0], module.redrawn([x])[0])
    assert torch.equal(module.reference([x])[0], first)
    assert module.has_drawn
    assert Runner(module).state_between_calls([x]) == (), "a generator is no state that a graph could keep"


def test_a_module_that_draws_nothing() -> None:
    x = torch.zeros(2)
    module = flat(Draws(lambda: 1.0), x)
    module.reference([x])
    assert not module.has_drawn
