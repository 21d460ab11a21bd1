"""Writes of the code outside its module are undone after each call of a private copy."""

from __future__ import annotations

import functools
import importlib
import io
import itertools
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from lightning_onnx import export
from lightning_onnx.module.call_state import CallState
from lightning_onnx.module.weights.copying import private_copy


def run(copied: nn.Module, x: Any) -> Any:
    with CallState(copied).kept():
        return copied(x)


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
    run(copied, torch.ones(1, 2))
    run(copied, torch.ones(1, 2))
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
    torch.testing.assert_close(run(copied, x), run(copied, x))
    assert _sizes() == before
    module(x)
    assert _sizes() != before
    assert type(copied) is kind


class Hook:
    def __call__(self, module: Any, args: Any, output: Any) -> None:
        SEEN.append(output)

    def method(self, module: Any, args: Any, output: Any) -> None:
        SEEN.append(output)


@pytest.mark.parametrize("hook", [Hook(), Hook().method, functools.partial(Hook().method)])
def test_a_hook_that_is_an_object_does_not_see_the_copy(hook: Any) -> None:
    module = nn.Linear(2, 2)
    module.register_forward_hook(hook)
    copied = private_copy(module)
    before = len(SEEN)
    run(copied, torch.ones(1, 2))
    assert len(SEEN) == before
    module(torch.ones(1, 2))
    assert len(SEEN) == before + 1


def test_a_method_reads_what_a_hook_of_the_copy_writes() -> None:
    module = ReadsHook()
    copied = private_copy(module)
    x = torch.ones(1, 2)
    torch.testing.assert_close(run(copied, x), module.layer(x) * 2)


class ReadsHook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.layer.register_forward_hook(gather)

    def forward(self, x: Any) -> Any:
        self.layer(x)
        return SEEN[-1] * 2


def test_a_method_that_writes_what_it_closes_over_does_not_see_the_copy() -> None:
    seen: ClassVar[list[Any]] = []
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
    torch.testing.assert_close(run(copied, x), nn.functional.linear(x, module.weight, module.bias))
    assert (len(seen), calls) == (0, 0)
    module(x)
    assert (len(seen), calls) == (1, 1)


@pytest.mark.slow
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


class Slotted:
    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0


class Meter:
    """A callable object that keeps sums."""

    def __init__(self) -> None:
        self.total = 0
        self.slotted = Slotted()
        self.last = torch.zeros(2)
        self.generator = torch.Generator()

    def __call__(self, x: Any) -> None:
        self.total += 1
        self.slotted.total += 1
        self.last += 1
        torch.rand(1, generator=self.generator)

    @property
    def state(self) -> tuple[Any, ...]:
        generated = self.generator.get_state().sum().item()
        return self.total, self.slotted.total, self.last.tolist(), generated


METER = Meter()
ACTIONS = {"meter": METER}


class Registry:
    calls = 0
    items: ClassVar[dict[str, Any]] = {}

    @classmethod
    def put(cls, name: str, value: Any) -> None:
        cls.calls += 1
        cls.items[name] = value


def counts_on_itself(x: Any) -> Any:
    counts_on_itself.calls += 1  # type: ignore[attr-defined]
    return x


counts_on_itself.calls = 0  # type: ignore[attr-defined]


def keeps_in_its_default(x: Any, seen: list[Any] = []) -> Any:  # noqa: B006
    seen.append(x)
    return x


NUMBERS = itertools.count()
STREAM = io.StringIO()


class Counted(nn.Linear):
    """Counts its calls outside of itself, and returns something else if its class is another."""

    calls = 0
    seen: ClassVar[list[Any]] = []

    def __init__(self, way: str) -> None:
        super().__init__(2, 2)
        self.way = way

    def forward(self, input: Any) -> Any:
        if self.way == "its class":
            type(self).calls += 1
        elif self.way == "its class, by name":
            Counted.calls += 1
        elif self.way == "a list of its class":
            self.seen.append(input)
        elif self.way == "an attribute that its class has not":
            Counted.first = input  # type: ignore[attr-defined]
        elif self.way == "another class":
            Registry.put("a", input)
        elif self.way == "an object":
            METER(input)
        elif self.way == "an object in a table":
            ACTIONS["meter"](input)
        elif self.way == "a function":
            counts_on_itself(input)
        elif self.way == "a default":
            keeps_in_its_default(input)
        elif self.way == "an iterator":
            next(NUMBERS)
        elif self.way == "a stream":
            print("called", file=STREAM)
        elif self.way.startswith("a method"):
            getattr(self, "count_" + self.way.split()[-1])()
        return super().forward(input) if type(self) is Counted else input

    def count_later(self) -> None:
        Registry.calls += 1


def _outside() -> tuple[Any, ...]:
    own = Counted.calls, len(Counted.seen), hasattr(Counted, "first")
    functions = counts_on_itself.calls, len(keeps_in_its_default.__defaults__[0])  # type: ignore
    return *own, Registry.calls, list(Registry.items), METER.state, *functions, repr(NUMBERS), STREAM.getvalue()


@pytest.mark.parametrize(
    "way",
    [
        "its class",
        "its class, by name",
        "a list of its class",
        "an attribute that its class has not",
        "another class",
        "an object",
        "an object in a table",
        "a function",
        "a default",
        "an iterator",
        "a stream",
        "a method with a computed name: later",
    ],
)
def test_writes_to_classes_and_objects_are_undone(way: str) -> None:
    Registry.items.clear()
    module = Counted(way)
    copied = private_copy(module)
    before = _outside()
    x = torch.ones(1, 2)
    expected = nn.functional.linear(x, module.weight, module.bias)
    state = CallState(copied)
    with state.kept():
        torch.testing.assert_close(copied(x), expected)
    assert _outside() == before
    assert state.written_outside
    module(x)
    assert _outside() != before
    vars(Counted).get("first") is None or delattr(Counted, "first")


OTHER_FILE = """
SEEN, TOTAL = [], 0

def record(x):
    global TOTAL, LAST
    TOTAL += 1
    SEEN.append(x)
    LAST = x
"""

USERS_FILE = """
import torch
import other_file
from other_file import record

class Records(torch.nn.Linear):
    def forward(self, x):
        {write}
        return super().forward(x)
"""


@pytest.mark.parametrize("write", ["other_file.record(x)", "record(x)", "other_file.TOTAL += 1"])
def test_writes_to_another_file_are_undone(write: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_file.py").write_text(OTHER_FILE)
    (tmp_path / "users_file.py").write_text(USERS_FILE.format(write=write))
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("other_file", "users_file"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    other: Any = importlib.import_module("other_file")
    module = importlib.import_module("users_file").Records(2, 2)
    run(private_copy(module), torch.ones(1, 2))
    assert (other.SEEN, other.TOTAL, hasattr(other, "LAST")) == ([], 0, False)
    module(torch.ones(1, 2))
    assert other.TOTAL == 1


def test_hooks_of_all_modules_do_not_see_the_copy() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, output: SEEN.append(output))
    try:
        copied = private_copy(nn.Linear(2, 2))
        before = len(SEEN)
        run(copied, torch.ones(1, 2))
        assert len(SEEN) == before
    finally:
        handle.remove()


def test_changes_by_the_running_training_are_kept() -> None:
    copied = private_copy(Counted("its class"))
    before = Counted.calls
    with CallState(copied, is_concurrent=True).kept():
        Counted.calls += 1
    assert Counted.calls == before + 1
