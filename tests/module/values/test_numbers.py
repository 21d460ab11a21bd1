"""The numbers of a module that its decisions may depend on."""

from __future__ import annotations

import torch
from torch import nn

from lightning_onnx.module.values.numbers import numbers_of


class Settings(nn.Module):
    scale = 0.125

    def __init__(self) -> None:
        super().__init__()
        self.limits = {"low": (-0.5, 2)}
        self.flag, self.name, self.never = True, "x", float("inf")
        self.temperature = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
        self.register_buffer("threshold", torch.tensor([3]))
        self.norm = nn.LayerNorm(50)  # its eps, and 50 weights, are not settings
        self.child = nn.Sequential(Child())


class Child(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.steps = 10**400
        self.at = torch.tensor(9.5)


def test_plain_attributes_small_tensors_and_those_of_children() -> None:
    assert numbers_of(Settings()) == (0.125, -0.5, 0.7, 2, 3, 9.5)


def test_few_numbers_are_tried() -> None:
    module = nn.Module()
    module.__class__ = type("Many", (nn.Module,), {"__module__": "user"})
    for i in range(100):
        setattr(module, f"n{i}", i)
    assert numbers_of(module) == tuple(range(16))
