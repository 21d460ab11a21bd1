"""What a method reads besides weights is known, and a change of it shows; other changes do not."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import logging
import os
import threading
import types
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.digests import Digester, digests


class Mode(enum.Enum):
    LOW = 1.0
    HIGH = 2.0


@dataclasses.dataclass
class Settings:
    low: float = 0.0
    tables: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Slotted:
    scale: float = 1.0


class Helper:
    """A callable object with a part of the module and a lock beside its setting."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.lock, self.scale = layer, threading.Lock(), 1.0

    def __call__(self, x: Any) -> Any:
        return x * self.scale


LIMITS = {"high": 1.0}
LEVEL = 0.5


class Elsewhere:
    offset = 0.0


def times(factor: float) -> Any:
    return lambda x: x * factor


class Reads(nn.Module):
    """Reads a setting of each kind, and adds to some attributes."""

    offset = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.other = nn.Linear(2, 2), nn.Linear(2, 2)
        self.dropout = nn.Dropout(0.5)
        self.threshold = 0.5
        self.scales = {"a": [1.0, torch.ones(2)], "log": logging.getLogger("x")}
        self.settings, self.slotted, self.helper = Settings(), Slotted(), Helper(self.layer)
        self.mode, self.flag = Mode.LOW, None
        self.scale_by, self.clip = times(2.0), functools.partial(torch.clamp, max=9.0)
        self.order = [self.layer]
        self.ema = torch.zeros(2)
        self.losses: list[float] = []
        self.calls, self.unused = 0, 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.losses.append(1.0)
        x = self.order[0](x) * self.scales["a"][1] + self.settings.low + self.offset + self.slotted.scale
        x = self.helper(self.scale_by(self.clip(self.dropout(x)))) * self.mode.value + Elsewhere.offset
        self.ema = self.ema * 0.9 + x.mean(0)
        x = x.clamp(max=LIMITS["high"]) + self.ema
        return x if self.flag else x > self.threshold + LEVEL


def set_global(value: float) -> None:
    global LEVEL
    LEVEL = value


@pytest.fixture(autouse=True)
def _globals_kept() -> Any:
    yield
    set_global(0.5)
    LIMITS["high"], Elsewhere.offset, Reads.offset = 1.0, 0.0, 1.0


CHANGES: dict[str, Any] = {
    "a number": lambda m: setattr(m, "threshold", 0.25),
    "a tensor in place": lambda m: m.scales["a"][1].add_(1),
    "an attribute of a dataclass": lambda m: setattr(m.settings, "low", 1.0),
    "a dict in a dataclass": lambda m: setattr(m.settings, "tables", {"x": 1}),
    "a slot": lambda m: setattr(m.slotted, "scale", 2.0),
    "an attribute of a callable object": lambda m: setattr(m.helper, "scale", 2.0),
    "an enumeration": lambda m: setattr(m, "mode", Mode.HIGH),
    "None": lambda m: setattr(m, "flag", True),
    "what a function closes over": lambda m: setattr(m, "scale_by", times(3.0)),
    "the code of a function": lambda m: setattr(m, "scale_by", lambda x: x + 1),
    "arguments of a partial": lambda m: setattr(m, "clip", functools.partial(torch.clamp, max=8.0)),
    "a part in a list": lambda m: m.order.__setitem__(0, m.other),
    "what calls leave": lambda m: setattr(m, "ema", torch.ones(2)),
    "an attribute of a library's layer": lambda m: setattr(m.dropout, "p", 0.25),
    "the method of a library's layer": lambda m: setattr(m.dropout, "forward", lambda x: x * 2),
    "a hook": lambda m: m.dropout.register_forward_hook(lambda module, args, output: output * 2),
    "an attribute of the class": lambda m: setattr(Reads, "offset", 2.0),
    "an attribute of another class": lambda m: setattr(Elsewhere, "offset", 2.0),
    "a global": lambda m: set_global(2.0),
    "the content of a global": lambda m: LIMITS.__setitem__("high", 2.0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of_what_is_read_is_detected(change: Any) -> None:
    module = Reads()
    before = digests(module, "forward")
    assert digests(private_copy(module), "forward") == before
    change(module)
    assert digests(module, "forward") != before
    assert digests(private_copy(module), "forward") != before


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "unused", 1),
        lambda m: m.losses.append(2.0),
        lambda m: setattr(m, "calls", 5),
        lambda m: m.layer.weight.data.add_(1),
        lambda m: setattr(m.layer, "weight", nn.Parameter(torch.zeros(2, 2))),
    ],
)
def test_other_changes_are_ignored(change: Any) -> None:
    module = Reads()
    before = digests(module, "forward")
    change(module)
    assert digests(module, "forward") == before


def test_a_change_in_the_environment_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * float(os.environ["USERS_SCALE"])

    monkeypatch.setenv("USERS_SCALE", "1")
    before = digests(Scaled(), "forward")
    monkeypatch.setenv("USERS_SCALE", "2")
    assert digests(Scaled(), "forward") != before


def test_only_the_methods_that_are_called_count() -> None:
    class Two(Reads):
        def predict(self, x: Any) -> Any:
            return x * self.unused

    module = Two()
    assert ("", "unused") in digests(module, "predict")
    assert ("", "unused") not in digests(module, "forward")


def test_code_that_names_no_attribute_reads_all() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale_a = 1.0

        def forward(self, x: Any) -> Any:
            return x * self.__dict__["scale_" + "ab"[0]]

    assert ("", "scale_a") in digests(Dynamic(), "forward")


def test_what_lightning_keeps_on_a_module_is_no_setting() -> None:
    """The hook that runs now is another one in preflight than at the end, and would make every graph stale."""

    class Dynamic(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.scale_a = 1.0

        def forward(self, x: Any) -> Any:
            return x * getattr(self, "scale_" + "ab"[0])

    assert {name for _, name in digests(Dynamic(), "forward")} & Dynamic().__dict__.keys() == {"scale_a"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({1, 2}, {1, 3}),
        ((1, 2.0), (1, 2)),
        (np.float32(1), np.float32(2)),
        (np.ones(2), np.zeros(2)),
        (np.array([None, "a"], dtype=object), np.array([None, "b"], dtype=object)),
        (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
        (collections.OrderedDict(a=1), collections.OrderedDict(a=2)),
        (datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)),
        (torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.bfloat16)),
        (torch.ones(2, dtype=torch.float8_e5m2), torch.zeros(2, dtype=torch.float8_e5m2)),
        (torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(0.0, 2.0)),
        (torch.nn.functional.relu, torch.nn.functional.gelu),
        ("1", 1),
    ],
)
def test_values_of_all_kinds(one: Any, other: Any) -> None:
    digest = Digester()
    assert digest(one) == digest(one)
    assert digest(one) != digest(other)


def test_values_that_hold_themselves() -> None:
    module = Reads()
    module.settings.tables["self"] = module.settings
    module.settings.tables["module"] = module
    before = digests(module, "forward")
    assert digests(private_copy(module), "forward") == before


class Unsized(tuple):
    """A container of the user's that has items and no length."""

    def __len__(self) -> int:
        raise NotImplementedError


def test_a_container_without_a_length_is_read() -> None:
    same, other = Unsized((1, 2)), Unsized((1, 3))
    assert Digester()(Unsized((1, 2))) == Digester()(same) != Digester()(other)
