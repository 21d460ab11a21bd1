"""A hook that closes over the module writes into the copy when the copy runs."""

from __future__ import annotations

from typing import Any

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


def test_hooks_that_close_over_parts_in_containers_use_those_of_the_copy() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    parts = {"last": [module[1]]}
    module[0].register_forward_hook(lambda layer, args, output: parts["last"][0](output))
    copied = private_copy(module)
    x = torch.randn(3, 2)
    expected = module(x)
    with torch.no_grad():
        module[1].weight.zero_()
    torch.testing.assert_close(copied(x), expected)


def test_other_objects_that_hooks_close_over_are_shared() -> None:
    seen: list[Any] = []
    module = nn.Linear(2, 2)
    module.register_forward_hook(lambda layer, args, output: seen.append(output))
    (hook,) = private_copy(module)._forward_hooks.values()
    assert hook is next(iter(module._forward_hooks.values()))
