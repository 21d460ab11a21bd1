"""Files shared by the tests of runtimes, exported once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import ONNXArtifact, export
from lightning_onnx.runtimes.base import Arrays


class TwoHeads(nn.Module):
    """Inputs and outputs that are not in alphabetical order."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(5, 3)

    def forward(self, q: Tensor, p: Tensor) -> dict[str, Tensor]:
        return {"sum": self.a(q) + self.b(p), "difference": self.a(q) - self.b(p)}


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(10, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids).sum(1))


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x).mean(1)


def convolutional() -> nn.Module:
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), *pool, nn.Linear(8, 5))


MODULES = {
    "linear": (lambda: nn.Linear(4, 2), torch.zeros(3, 4)),
    "convolutional": (convolutional, torch.zeros(2, 3, 16, 16)),
    "two": (TwoHeads, (torch.zeros(3, 4), torch.zeros(3, 5))),
    "bag": (Bag, torch.zeros(2, 6, dtype=torch.int64)),
    "pooled": (Pooled, torch.randn(2, 5, 16)),
}


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ONNXArtifact]:
    root = tmp_path_factory.mktemp("exported")
    return {name: export(made().eval(), args, directory=root / name) for name, (made, args) in MODULES.items()}


def feeds(artifact: ONNXArtifact, batch: int) -> Arrays:
    generator = np.random.default_rng(batch)
    found: Arrays = {}
    for spec in artifact.signature.inputs:
        shape = [batch if d == "batch" else int(d) for d in spec.shape]
        if spec.dtype == "int64":
            found[spec.name] = generator.integers(0, 10, shape)
        else:
            found[spec.name] = generator.normal(size=shape).astype(spec.dtype)
    return found


def model_of(artifact: ONNXArtifact) -> Path:
    return artifact.model_path
