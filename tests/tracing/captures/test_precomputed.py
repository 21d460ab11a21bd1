"""Complex weights, and weights that are computed by operators which ONNX lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx.errors import CaptureNotApplicable
from lightning_onnx.tracing.captures.base import dynamic_shapes_of
from lightning_onnx.tracing.captures.precomputed import Precomputed
from tests import outside
from tests.tracing.captures.refreshing import check_other_weights
from tests.tracing.making import made


class Fourier2d(nn.Module):
    """A layer of a Fourier neural operator, with corners of the spectrum written into zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Parameter(torch.randn(3, 3, 2, 2, dtype=torch.cfloat) * 0.3)
        self.high = nn.Parameter(torch.randn(3, 3, 2, 2, dtype=torch.cfloat) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x)
        out = torch.zeros(*spectrum.shape, dtype=torch.cfloat)
        out[:, :, :2, :2] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :2, :2], self.low)
        out[:, :, -2:, :2] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, -2:, :2], self.high)
        return torch.fft.irfft2(out, s=x.shape[-2:])


class Rotates(nn.Module):
    """A rotation by a skew matrix's exponential, computed in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.skew = nn.Parameter(torch.randn(4, 4))
        self.layer = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x @ torch.linalg.matrix_exp(self.skew - self.skew.T))


@pytest.mark.slow
@pytest.mark.parametrize(("module", "shape"), [(Fourier2d, (2, 3, 8, 6)), (Rotates, (2, 4))])
def test_other_weights_in_one_graph(module: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    check_other_weights(module(), torch.randn(*shape), tmp_path)


@pytest.mark.slow
def test_image_of_another_size(tmp_path: Path) -> None:
    net, axes = Fourier2d(), {"x": {0: "batch", 2: "height", 3: "width"}}
    artifact = lightning_onnx.export(net, torch.randn(2, 3, 8, 6), directory=tmp_path / "x", dynamic_axes=axes)
    for size in ((12, 9), (7, 10)):
        x = torch.randn(1, 3, *size)
        with torch.no_grad():
            np.testing.assert_allclose(outside.run(artifact.model_path, x=x)[0], net(x), atol=1e-5)


class Counts(nn.Module):
    """Writes into a buffer."""

    number: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("number", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.number += 1
        return x


@pytest.mark.parametrize(("module", "error"), [(nn.ReLU, CaptureNotApplicable), (Counts, NotImplementedError)])
def test_modules_that_it_is_not_for(module: Any, error: type[Exception]) -> None:
    flat, request = made(module(), torch.randn(2, 3))
    with pytest.raises(error):
        Precomputed().capture(flat, request.tensors, dynamic_shapes_of(request.axes))
