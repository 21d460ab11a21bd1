from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.module.perturbation import PerturbedWeights, perturb


def test_integers_and_zeros_stay_and_floats_change_by_a_few_units_in_the_last_place() -> None:
    assert torch.equal(perturb(torch.arange(3), 0), torch.arange(3))
    assert torch.equal(perturb(torch.zeros(3), 0), torch.zeros(3))
    assert perturb(torch.tensor(0.3), 0).shape == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_noise(dtype: torch.dtype) -> None:
    ones = torch.ones(1000, dtype=dtype)
    changed = perturb(ones, 3)
    assert changed.dtype == dtype
    assert 0 < (changed - 1).abs().max() <= 4 * torch.finfo(dtype).eps
    assert torch.equal(changed, perturb(ones, 3))
    assert not torch.equal(changed, perturb(ones, 4))


class Tied(nn.Module):
    """Uses a weight three times: by itself, transposed, and through a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.lstm = nn.LSTM(8, 8)
        self.wide = nn.Parameter(torch.rand(8, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        tied = x @ self.linear.weight.t()
        hidden: Tensor = self.lstm(self.linear(tied))[0]
        return hidden + self.wide


def test_all_uses_of_a_weight_get_the_values_that_a_copy_would_have() -> None:
    module, x = Tied(), torch.randn(5, 2, 8)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    weights = {name: perturb(p.detach(), (7, n)) for n, (name, p) in enumerate(module.named_parameters())}
    with torch.no_grad(), PerturbedWeights([], seed=7):  # a mode makes torch compute in other steps
        expected = torch.func.functional_call(module, weights, (x,))
    with torch.no_grad(), PerturbedWeights(module.parameters(), seed=7):
        found = module(x)
    assert not torch.equal(found, module(x))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    assert all(torch.equal(weight, before[name]) for name, weight in module.state_dict().items())


def test_only_a_part_of_the_weights_is_in_memory_twice() -> None:
    weights = [torch.ones(2**22) for _ in range(6)]  # 16 MiB each
    with PerturbedWeights(weights, seed=0) as mode:
        assert all(bool((weight + 0 != 1).any()) for weight in weights)
        assert 2**24 < mode.kept_bytes <= 2**26
