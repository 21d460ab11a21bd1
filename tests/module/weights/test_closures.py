"""A hook that closes over the module writes into the copy when the copy runs."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

from lightning_onnx.module.weights.copying import private_copy


def test_hooks_that_close_over_the_module_write_into_the_copy() -> None:
    class Hooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.seen: Any = None

            def remember(layer: Any, args: Any, output: Any) -> None:
                self.seen = output

            self.layer.register_forward_hook(remember)

        def forward(self, x: Any) -> Any:
            self.layer(x)
            return self.seen * 2

    module = Hooked()
    copied = private_copy(module)
    x = torch.randn(3, 2)
    torch.testing.assert_close(copied(x), module.layer(x) * 2)
    module.seen = None
    copied(x)
    assert module.seen is None


SEEN: list[Any] = []
BY_NAME: dict[str, list[Any]] = {"all": []}
COUNT = 0


def count(output: Any) -> None:
    global COUNT
    COUNT += 1
    BY_NAME["all"].append(output)


def gather(module: Any, args: Any, output: Any) -> None:
    SEEN.append(output)
    count(output)


def gather_as(name: str, module: Any, args: Any, output: Any) -> None:
    gather(module, args, output)


@torch.no_grad()
def gather_decorated(module: Any, args: Any, output: Any) -> None:
    gather(module, args, output)


@pytest.mark.parametrize("hook", [gather, functools.partial(gather_as, "all"), gather_decorated])
def test_a_hook_that_writes_into_globals_does_not_see_the_copy(hook: Any) -> None:
    SEEN.clear()
    BY_NAME["all"].clear()
    module = nn.Linear(2, 2)
    module.register_forward_hook(hook)
    before = COUNT
    copied = private_copy(module)
    module(torch.ones(1, 2))
    copied(torch.ones(1, 2))
    copied(torch.ones(1, 2))
    assert (len(SEEN), len(BY_NAME["all"]), COUNT - before) == (1, 1, 1)
