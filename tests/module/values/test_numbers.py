"""The numbers of a module that its decisions may depend on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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


class Written(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 2.25, max(v * 0.5 for v in x.flatten()), x.reshape(3, -1))

    def predict(self, x: Tensor) -> Tensor:
        return self(x) if x.mean() > 7.5 else x


def test_floats_in_the_code_of_the_method_and_of_children() -> None:
    assert numbers_of(Written()) == (0.5, 2.25)
    assert numbers_of(Written(), "predict") == (0.5, 2.25, 7.5)
    assert numbers_of(nn.Sequential(Written())) == (0.5, 2.25)
    assert numbers_of(nn.Linear(20, 20)) == ()


def test_settings_come_before_small_tensors() -> None:
    many = nn.Sequential(*(nn.Linear(1, 1) for _ in range(20)), Settings())
    assert {0.125, -0.5, 2, 9.5} <= set(numbers_of(many))


class Unsized(tuple):
    """A container of the user's that has items and no length."""

    def __len__(self) -> int:
        raise NotImplementedError


def test_containers_that_cannot_be_read_have_no_numbers() -> None:
    module = Child()
    module.pair, module.cycle, module.after = Unsized((1, 2)), [], 7
    module.cycle.append(module.cycle)
    assert numbers_of(module) == (7, 9.5)
