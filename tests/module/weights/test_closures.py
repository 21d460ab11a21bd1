"""A hook that closes over the module writes into the copy when the copy runs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_onnx import export
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


class Counts(nn.Module):
    """Its ``forward`` writes into the globals of this file in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        y = self.layer(x)
        if self.way == "append":
            SEEN.append(y)
        elif self.way == "function":
            count(y)
        elif self.way == "method":
            self.keep(y)
        elif self.way == "property":
            y = y * self.ones
        elif self.way == "argument":
            put_into(SEEN, y)
        elif self.way == "item":
            BY_NAME["all"][:0] = [y]
        elif self.way == "sum":
            TIMES["all"] += 1
        elif self.way == "alias":
            seen = SEEN
            seen += [y]
        return y

    def keep(self, y: Any) -> None:
        BY_NAME["all"] += [y]

    @property
    def ones(self) -> int:
        SEEN.append(1)
        return 1


class CountsBelow(Counts):
    def forward(self, x: Any) -> Any:
        global COUNT
        COUNT += 1
        return super().forward(x)


TIMES = {"all": 0}


def put_into(items: list[Any], item: Any) -> None:
    items.append(item)


def _sizes() -> tuple[int, ...]:
    return len(SEEN), len(BY_NAME["all"]), COUNT, TIMES["all"]


@pytest.mark.parametrize("kind", [Counts, CountsBelow])
@pytest.mark.parametrize("way", ["append", "function", "method", "property", "argument", "item", "sum", "alias"])
def test_a_method_that_writes_into_globals_does_not_see_the_copy(kind: Any, way: str) -> None:
    module = kind(way).eval()
    copied = private_copy(module)
    x = torch.ones(1, 2)
    before = _sizes()
    torch.testing.assert_close(copied(x), copied(x))
    assert _sizes() == before
    module(x)
    assert _sizes() != before
    assert isinstance(copied, kind)
    assert (type(copied).__name__, type(copied).__qualname__) == (kind.__name__, kind.__qualname__)


class Hook:
    def __call__(self, module: Any, args: Any, output: Any) -> None:
        SEEN.append(output)

    def method(self, module: Any, args: Any, output: Any) -> None:
        SEEN.append(output)


@pytest.mark.parametrize("hook", [Hook(), Hook().method, functools.partial(Hook().method)])
def test_an_object_that_is_a_hook_writes_into_globals_of_its_own(hook: Any) -> None:
    module = nn.Linear(2, 2)
    module.register_forward_hook(hook)
    copied = private_copy(module)
    before = len(SEEN)
    copied(torch.ones(1, 2))
    assert len(SEEN) == before
    module(torch.ones(1, 2))
    assert len(SEEN) == before + 1


def test_a_method_reads_what_a_hook_of_the_copy_writes() -> None:
    module = ReadsHook()
    copied = private_copy(module)
    x = torch.ones(1, 2)
    torch.testing.assert_close(copied(x), module.layer(x) * 2)


class ReadsHook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.layer.register_forward_hook(gather)

    def forward(self, x: Any) -> Any:
        self.layer(x)
        return SEEN[-1] * 2


def test_a_method_that_writes_what_it_closes_over_does_not_see_the_copy() -> None:
    seen: list[Any] = []
    calls = 0

    class Local(nn.Linear):
        def forward(self, input: Any) -> Any:
            nonlocal calls
            calls += 1
            seen.append(super().forward(input))
            return seen[-1]

    module = Local(2, 2)
    copied = private_copy(module)
    x = torch.ones(1, 2)
    torch.testing.assert_close(copied(x), nn.functional.linear(x, module.weight, module.bias))
    assert (len(seen), calls) == (0, 0)
    module(x)
    assert (len(seen), calls) == (1, 1)


LIMITS = [1.0, 2.0]


class ReadsOnly(nn.Module):
    def forward(self, x: Any) -> Any:
        found = {}
        found["x"] = x.clamp(LIMITS[0], LIMITS[1])
        return found["x"]


def test_a_module_that_only_reads_globals_keeps_its_class() -> None:
    assert type(private_copy(ReadsOnly())) is ReadsOnly
    assert type(private_copy(nn.Linear(2, 2))) is nn.Linear


@pytest.mark.parametrize("engine", ["dynamo", "torchscript"])
def test_calls_and_traces_leave_nothing_in_the_globals_of_methods(engine: Any, tmp_path: Path) -> None:
    SEEN.clear()
    before = _sizes()
    artifact = export(Averages().eval(), torch.randn(4, 2), directory=tmp_path / "a", engine=engine)
    assert artifact.passed
    assert _sizes() == before
    assert "(SEEN)" in str(artifact.record.checks[0].reason)


class Averages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        SEEN.append(self.layer(x).mean(0))
        return x + torch.stack(SEEN[-2:]).sum(0)
