"""The copy computes the same as the module and shares nothing with it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from lightning_onnx.module.calls.observer import ForwardObserver
from lightning_onnx.module.weights.copying import private_copy


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


class Holder(nn.Module):
    """Keeps something that may be impossible to copy, deep inside other attributes."""

    def __init__(self, thing: Any) -> None:
        super().__init__()
        self.before = {"scale": 2.0, "things": [1, thing, [2, thing]]}
        self.layer = nn.Linear(3, 3)
        self.layer.things = (thing, "kept")
        self.after = {"shift": 0.5}
        self.layers = [self.layer]

    def forward(self, x: Any) -> Any:
        return self.layers[0](x) * self.before["scale"] + self.after["shift"]


@pytest.mark.parametrize(
    "make",
    [threading.Lock, threading.local, lambda: (i for i in range(3)), partial(open, os.devnull), threading.Condition],
    ids=["lock", "local", "generator", "file", "condition"],
)
def test_objects_that_cannot_be_copied_are_shared_and_nothing_is_lost(make: Callable[[], Any]) -> None:
    thing = make()
    module = nn.Sequential(nn.Linear(3, 3), Holder(thing), nn.Linear(3, 3))
    copied: Any = private_copy(module)
    x = torch.randn(2, 3)
    torch.testing.assert_close(copied(x), module(x))
    held = copied[1]
    assert set(held.__dict__) == set(module[1].__dict__)
    assert held.before is not module[1].before
    assert held.before["things"][1] is held.before["things"][2][1]
    assert held.layers[0] is held.layer
    assert held.layer is not module[1].layer
    assert held.layer.things[1] == "kept"


def test_results_of_computations_in_containers_are_detached() -> None:
    module = nn.Linear(2, 2)
    module.cache = {"last": [module(torch.ones(1, 2)).half()]}
    copied: Any = private_copy(module)
    (kept,) = copied.cache["last"]
    assert kept.grad_fn is None
    assert kept.dtype == torch.float32
    torch.testing.assert_close(kept, module.cache["last"][0].detach().float())


class Box:
    """Holds a module, which is not registered in another one that has the box."""

    def __init__(self, held: nn.Module) -> None:
        self.held = held


def test_modules_that_are_not_registered_become_float32_on_the_cpu_too() -> None:
    module = nn.Linear(2, 2).bfloat16()
    module.hidden = [nn.Linear(2, 2).bfloat16()]  # type: ignore[assignment]
    module.box = Box(nn.Linear(2, 2).bfloat16())  # type: ignore[assignment]
    copied: Any = private_copy(module)
    for part in (copied, copied.hidden[0], copied.box.held):
        assert part(torch.ones(1, 2)).dtype == torch.float32
    assert module.hidden[0].weight.dtype == torch.bfloat16  # type: ignore[index]


def test_a_weak_reference_to_the_parent_is_one_to_its_copy() -> None:
    parent = nn.Module()
    parent.child = nn.Linear(2, 2)
    parent.child.parent = weakref.ref(parent)
    copied: Any = private_copy(parent)
    assert copied.child.parent() is copied


def test_a_module_that_copies_itself_does_so() -> None:
    class Own(nn.Linear):
        def __deepcopy__(self, memo: Any) -> Own:
            made = Own(2, 2)
            made.load_state_dict(self.state_dict())
            made.is_own = True
            memo[id(self)] = made
            return made

    module = nn.Sequential(nn.Linear(2, 2), Own(2, 2))
    copied: Any = private_copy(module)
    assert copied[1].is_own
    x = torch.ones(1, 2)
    torch.testing.assert_close(copied(x), module(x))


def test_parametrized_and_recurrent_modules_compute_with_their_own_weights() -> None:
    module = nn.ModuleDict(
        {"norm": nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), "lstm": nn.LSTM(3, 3, batch_first=True)}
    )
    copied: Any = private_copy(module)
    x = torch.randn(2, 4, 3)
    torch.testing.assert_close(copied["lstm"](copied["norm"](x))[0], module["lstm"](module["norm"](x))[0])
    with torch.no_grad():
        for parameter in copied["lstm"].parameters():
            parameter.zero_()
    assert copied["lstm"](copied["norm"](x))[0].abs().sum() == 0
    assert module["lstm"](module["norm"](x))[0].abs().sum() > 0


@pytest.mark.parametrize("records", [False, True])
def test_a_method_of_a_child_stays_bound_to_the_child(records: bool) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 2)
            self.forward = self.net.forward

    module = Wrapped()
    observer = ForwardObserver(module)
    if records:
        observer.attach()
    copied: Any = private_copy(module)
    x = torch.randn(2, 3)
    torch.testing.assert_close(copied(x), module.net(x))
    with torch.no_grad():
        copied.net.weight.zero_()
        copied.net.bias.zero_()
    assert copied(x).abs().sum() == 0
    observer.detach()
