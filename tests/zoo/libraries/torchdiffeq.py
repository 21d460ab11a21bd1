"""torchdiffeq: neural ODEs with a fixed number of steps, and with an adaptive solver."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Lit, first
from tests.zoo.isolated.library import Library


class Field(nn.Module):
    """The derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, t, y):
        return self.net(y**3)


class NeuralODE(Lit):
    """Follows a state through eight points in time."""

    def __init__(self, method: str, **options: Any) -> None:
        super().__init__()
        self.field, self.options = Field(), {"method": method, **options}
        self.register_buffer("times", torch.linspace(0.0, 1.0, 8))

    def forward(self, y0):
        from torchdiffeq import odeint

        return odeint(self.field, y0, self.times, **self.options)

    def step(self, batch: Any) -> Tensor:
        return (self(batch[0]) - batch[1]).abs().mean()


def _batch(size: int, variant: int) -> Any:
    return torch.randn(size, 2), torch.randn(8, size, 2)


LIBRARY = Library(
    "torchdiffeq",
    cases=(
        Case("torchdiffeq/rk4", lambda: NeuralODE("rk4"), _batch, first),
        Case("torchdiffeq/euler_small_steps", lambda: NeuralODE("euler", options={"step_size": 0.05}), _batch, first),
        Case("torchdiffeq/dopri5", lambda: NeuralODE("dopri5"), _batch, first,
             limit="the steps of an adaptive solver depend on values"),
    ),
)  # fmt: skip
