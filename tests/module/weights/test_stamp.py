"""A stamp fits only the same module with the same weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lightning_onnx.module.arrays import content_of
from lightning_onnx.module.weights import stamp as stamps
from lightning_onnx.module.weights.stamp import Stamp


def swapped(module: nn.Linear) -> None:
    with torch.no_grad():
        module.weight.copy_(module.weight.flip(0))


def beside_torch(module: nn.Linear) -> None:
    module.weight.detach().numpy()[0, 0] += 1


def replaced(module: nn.Linear) -> None:
    module.bias = nn.Parameter(module.bias.detach().clone())


def loaded(module: nn.Linear) -> None:
    module.load_state_dict({name: tensor + 1 for name, tensor in module.state_dict().items()})


def permuted_through_data(module: nn.Linear) -> None:
    module.weight.data = module.weight.data.flip(0)


def phase_turned(module: nn.Linear) -> None:
    phase = module.phase
    assert isinstance(phase, torch.Tensor)
    phase.data[0] = 1j


@pytest.mark.parametrize("change", [swapped, beside_torch, replaced, loaded, permuted_through_data, phase_turned])
def test_no_change_is_missed(change: Callable[[nn.Linear], None]) -> None:
    module = nn.Linear(3, 3)
    module.register_buffer("empty", torch.empty(0))
    module.register_buffer("phase", torch.zeros(2, dtype=torch.complex64))
    stamp = Stamp.of(module)
    module(torch.zeros(1, 3))
    assert stamp.fits(module)
    change(module)
    assert not stamp.fits(module)


def test_a_copy_is_another_module() -> None:
    module = nn.Linear(3, 3)
    other = nn.Linear(3, 3)
    other.load_state_dict(module.state_dict())
    assert not Stamp.of(module).fits(other)


def test_weights_that_cannot_be_read_fit_no_stamp() -> None:
    class Packed(torch.Tensor):
        """Keeps its values in a form of its own."""

    module = nn.Module()
    module.register_buffer("packed", torch.zeros(2).as_subclass(Packed))
    assert not Stamp.of(module).fits(module)


def test_a_value_that_is_restored_leaves_the_stamp_valid() -> None:
    module = nn.Linear(3, 3)
    stamp, before = Stamp.of(module), module.bias.detach().clone()
    with torch.no_grad():
        module.bias.add_(1)
        module.bias.copy_(before)
    assert stamp.fits(module)


def test_nothing_is_read_beyond_the_first_change(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    stamp = Stamp.of(module)
    read: list[torch.Tensor] = []

    def content(tensor: torch.Tensor) -> object:
        read.append(tensor)
        return content_of(tensor)

    monkeypatch.setattr(stamps, "content_of", content)
    assert stamp.fits(module)
    assert len(read) == 4
    read.clear()
    loaded(module[0])
    assert not stamp.fits(module)
    assert len(read) == 1


def test_a_tensor_more_or_less_is_a_change() -> None:
    module = nn.Linear(3, 3)
    stamp = Stamp.of(module)
    module.register_buffer("mask", torch.ones(3))
    assert not stamp.fits(module)
    stamp = Stamp.of(module)
    del module.mask
    assert not stamp.fits(module)
