"""The copy computes the same as the module and shares nothing with it."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn

from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.loading import load
from lightning_onnx.module.weights.state import state


class Odd(nn.Module):
    """Ties, lists, hooks, locks, cached activations, half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.tied = self.a
        self.layers = [self.a]
        self.half_ = nn.Linear(2, 2).half()
        self.double_ = nn.Linear(2, 2).double()
        self.lock = threading.Lock()
        self.cache: Any = None

    def forward(self, x: Any) -> Any:
        self.cache = self.layers[0](x)
        return self.cache * 2


def test_copy_computes_the_same_and_shares_nothing() -> None:
    module = Odd()
    module(torch.ones(1, 3))
    module.train()
    copied = private_copy(module)
    x = torch.randn(2, 3)
    torch.testing.assert_close(copied(x), module(x))
    assert copied.tied is copied.a
    assert copied.layers[0] is copied.a
    assert copied.a is not module.a
    assert copied.half_.weight.dtype == torch.float32
    assert copied.double_.weight.dtype == torch.float64
    assert not copied.training
    assert module.training
    assert module.half_.weight.dtype == torch.float16
    assert all(p.requires_grad for p in module.parameters())
    with torch.no_grad():
        copied.a.weight.zero_()
    assert module.a.weight.abs().sum() > 0


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


def test_compiled_parts_lose_their_wrapper() -> None:
    module = nn.Sequential(torch.compile(nn.Linear(2, 2)))
    copied = private_copy(module)
    assert list(state(copied)) == ["0.weight", "0.bias"]
    load(copied, module.state_dict())
    torch.testing.assert_close(copied[0].weight, module[0]._orig_mod.weight)
