"""How long an export of a deep module takes."""

from __future__ import annotations

import tempfile
import time

import torch
from torch import nn

from lightning_onnx import export


class Residual(nn.Module):
    """One layer that leaves outputs as large as its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the layer computes."""
        return x + self.linear(self.norm(x)).relu()


def seconds_a_layer(number: int) -> float:
    """Export a module of so many layers, after a small one that imports everything."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as directory:
        export(nn.Linear(16, 2), torch.randn(4, 16), directory=f"{directory}/imports")
        net = nn.Sequential(*(Residual() for _ in range(number)))
        started = time.perf_counter()
        export(net, torch.randn(4, 16), directory=f"{directory}/made")
        return (time.perf_counter() - started) / number
