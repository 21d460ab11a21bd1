"""The plain attributes that a method reads, whether they changed, and how they are restored."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from lightning_onnx.module.weights import attributes


@dataclasses.dataclass
class Settings:
    low: float = 0.0
    tables: dict[str, Any] = dataclasses.field(default_factory=dict)


class Reads(nn.Module):
    offset = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.threshold = 0.5
        self.scales = {"a": [1.0, torch.ones(2)]}
        self.settings = Settings()
        self.losses: list[float] = []
        self.mode = None
        self.layer.gain = 2

    def forward(self, x: Any) -> Any:
        x = self.layer(x) * self.layer.gain * self.scales["a"][1] + self.settings.low + self.offset
        return x if self.mode else x > self.threshold

    def learn(self) -> None:
        self.threshold = 1.0
        self.losses.append(1.0)


def read() -> tuple[Reads, frozenset[Any]]:
    module = Reads().eval()
    return module, attributes.read_in(module, lambda: module(torch.ones(1, 2)))


def test_exactly_the_attributes_read_are_found() -> None:
    module, places = read()
    own = {name for part, name in places if part == ""}
    assert own == {"threshold", "scales", "settings", "mode", "offset"}
    assert ("layer", "gain") in places
    assert type(module) is Reads
    assert type(module.layer) is nn.Linear


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "threshold", 0.25),
        lambda m: m.scales["a"][1].add_(1),
        lambda m: setattr(m.settings, "low", 1.0),
        lambda m: setattr(m.settings, "tables", {"x": 1}),
        lambda m: setattr(m, "mode", True),
        lambda m: setattr(m, "offset", 2.0),
        lambda m: setattr(m.layer, "gain", 3),
    ],
)
def test_a_change_of_a_read_attribute_is_detected(change: Any) -> None:
    module, places = read()
    before = attributes.digests(module, places)
    assert attributes.digests(Reads(), places) == before
    change(module)
    assert attributes.digests(module, places) != before


def test_a_change_of_an_unread_attribute_is_ignored() -> None:
    module, places = read()
    before = attributes.digests(module, places)
    module.losses.append(2.0)
    assert attributes.digests(module, places) == before


def test_a_snapshot_restores_the_attributes() -> None:
    module = Reads()
    kept = attributes.snapshot(module)
    module.threshold = 3.0
    module.scales["a"][1].add_(1)
    module.settings.low = 4.0
    other = Reads()
    other.threshold = 3.0
    attributes.put(module, kept)
    assert (module.threshold, module.settings.low) == (0.5, 0.0)
    assert torch.equal(module.scales["a"][1], torch.ones(2))
    assert "layer" not in {name for _, name in kept}


def test_attributes_that_training_may_set_are_found_in_the_code() -> None:
    module, places = read()
    assert attributes.set_later(module, sorted(places)) == [("", "threshold")]
