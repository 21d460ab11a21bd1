"""Right files of trained modules pass, although the module is unstable on some of the inputs that parity tries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import ONNXExport
from tests import models, outside


class Features(models.Validated):
    """Four features of four inputs."""

    lr = 0.01
    inputs = 4

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 4)

    def batches(self) -> DataLoader[Any]:
        x = torch.randn(24, self.inputs, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(x), batch_size=8)


class Standardized(Features):
    """On equal rows, what is left of the deviations is rounding noise."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.net(x)
        return (h - h.mean(0)) / (h.std(0) + 1e-5)


class Router(Features):
    """On zeros, all scores are equal."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 4, bias=False)
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.gate(x).softmax(-1).topk(2)
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        taken = outputs.gather(1, chosen[..., None].expand(-1, -1, 4))
        return (taken * weights[..., None]).sum(1)


class Gate(Features):
    """On a row of zeros, any two of eight scores are the largest."""

    inputs = 8

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        values, chosen = x.topk(2, -1)
        return torch.zeros_like(x).scatter(-1, chosen, (values * self.temperature).softmax(-1))


class Neighbours(Features):
    """On equal rows, all distances are equal."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.net(x)
        return h - h[torch.cdist(h, h).topk(2, largest=False).indices[:, 1]]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.net(batch[0]).square().mean()


class Angles(Features):
    """On mirrored inputs, features are zeros of either sign."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.net(x).relu()
        return torch.atan2(h[:, :2], h[:, 2:] + 1e-3 * x[:, 2:].relu())


class Phases(Features):
    """The first and the last frequency are real: their angles are 0 or pi, and never -pi."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(self.net(x)).angle()


class Likelihood(Features):
    """Probabilities below 2e-8, of which the logarithms are taken."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) + 12 * x).sigmoid().log()


MODULES: list[Any] = [Standardized, Router, Gate, Neighbours, Angles, Phases, Likelihood]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [pytest.param(m, id=m.__name__, marks=pytest.mark.slow if m in (Phases, Likelihood) else ()) for m in MODULES],
)
def test_passed_and_right(kind: Any, fit: Any) -> None:
    module, callback = kind(), ONNXExport()
    fit(module, callback)
    assert callback.artifact is not None
    (check,) = callback.artifact.manifest["checks"]
    assert check["status"] == "passed"
    assert "failed" not in check["figures"]["outcomes"].values()
    assert not any("is static" in note for note in callback.artifact.manifest["notes"])
    module.eval()
    for rows in (3, 8, 11):
        x = torch.randn(rows, module.inputs)
        with torch.no_grad():
            expected = module(x)
        np.testing.assert_allclose(outside.run(callback.artifact.model_path, x=x)[0], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_an_integer_limit_beside_a_float_needs_no_other_engine(fit: Any) -> None:
    class Limited(Features):
        def forward(self, x: Tensor) -> Tensor:
            return functional.hardtanh(self.net(x), -1, 0.5) + self.net(x).clamp(0, 0.99)

    callback = ONNXExport(engine="dynamo")
    fit(Limited(), callback)
    assert callback.artifact is not None
    assert callback.artifact.passed
