"""torchao: int8 weights in a frozen trunk under a head that is trained, and quantization-aware training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.zoo.case import Case, LitXY, first
from tests.zoo.isolated.library import Library


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))


class FrozenTrunk(LitXY):
    """Weights of the trunk are integers, which are tensors of a class of the library."""

    def __init__(self) -> None:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        super().__init__(_net())
        quantize_(self.net[:4], Int8WeightOnlyConfig())
        for parameter in self.net[:4].parameters():
            parameter.requires_grad_(False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.net[4].parameters(), lr=1e-3)


class QAT(LitXY):
    """Fake quantization of weights while training."""

    def __init__(self) -> None:
        from torchao.quantization import quantize_
        from torchao.quantization.qat import IntxFakeQuantizeConfig, QATConfig

        super().__init__(_net())
        weight = IntxFakeQuantizeConfig(torch.int8, granularity="per_channel")
        quantize_(self.net, QATConfig(weight_config=weight, step="prepare"))


def _batch(size: int, variant: int) -> Any:
    return torch.randn(size, 32), torch.zeros(size)


LIBRARY = Library(
    "torchao",
    cases=(
        Case("torchao/int8_weights", FrozenTrunk, _batch, first),
        Case("torchao/qat", QAT, _batch, first),
    ),
)
