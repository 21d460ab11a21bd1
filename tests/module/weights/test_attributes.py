"""The plain attributes of a module are kept, and restored later."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import torch
from torch import nn

from lightning_onnx.module.weights import attributes


@dataclasses.dataclass
class Settings:
    low: float = 0.0
    tables: dict[str, Any] = dataclasses.field(default_factory=dict)


class Slotted:
    __slots__ = ("scale",)

    def __init__(self) -> None:
        self.scale = 1.0


class Reads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.threshold = 0.5
        self.scales = {"a": [1.0, torch.ones(2)]}
        self.settings = Settings()
        self.mixed = {"lock": threading.Lock(), "scale": 1.0, "parts": [self.layer, 2.0], "slotted": Slotted()}

    def forward(self, x: Any) -> Any:
        return self.layer(x) * self.scales["a"][1] > self.threshold

    def learn(self) -> None:
        self.threshold = 1.0


def test_a_snapshot_restores_the_attributes() -> None:
    module = Reads()
    kept = attributes.snapshot(module, "forward")
    module.threshold = 3.0
    module.scales["a"][1].add_(1)
    module.settings.low = 4.0
    attributes.put(module, kept)
    assert (module.threshold, module.settings.low) == (0.5, 0.0)
    assert torch.equal(module.scales["a"][1], torch.ones(2))
    assert ("layer", "weight") not in kept.values


def test_plain_values_next_to_others_are_restored() -> None:
    module = Reads()
    kept = attributes.snapshot(module, "forward")
    lock, slotted = module.mixed["lock"], module.mixed["slotted"]
    module.mixed["scale"] = module.mixed["parts"][1] = slotted.scale = 7.0
    attributes.put(module, kept)
    assert (module.mixed["scale"], module.mixed["parts"], slotted.scale) == (1.0, [module.layer, 2.0], 1.0)
    assert module.mixed["lock"] is lock
    assert module.mixed["slotted"] is slotted


def test_a_snapshot_does_not_change_with_the_module() -> None:
    module = Reads()
    kept = attributes.snapshot(module, "forward")
    module.scales["a"][1].add_(1)
    module.threshold = 3.0
    other = Reads()
    attributes.put(other, kept)
    assert torch.equal(other.scales["a"][1], torch.ones(2))
    assert attributes.snapshot(other, "forward").digests == kept.digests


def test_attributes_that_training_may_set_are_found_in_the_code() -> None:
    places = [("", "threshold"), ("", "scales"), ("layer", "in_features")]
    assert attributes.set_later(Reads(), places) == [("", "threshold")]
