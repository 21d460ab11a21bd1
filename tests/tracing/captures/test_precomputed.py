"""Complex weights, weights that are computed by operators which ONNX lacks, derivatives in forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.calls.observer import Observation
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.source import Source
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.pipeline.produce import LoadedModule, produce
from lightning_onnx.tracing.captures.complex_pairs import Pair, join, run, split
from tests import outside

pytestmark = pytest.mark.slow

aten = torch.ops.aten


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


class Forces(nn.Module):
    """The gradient of an energy by the places, and of its norm by them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.LayerNorm(8), nn.Linear(8, 1), nn.Softplus())

    def forward(self, place: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            place = place.detach().requires_grad_()
            energy = self.net(place).sum((1, 2))
            (force,) = torch.autograd.grad(energy.sum(), place, create_graph=True)
            (second,) = torch.autograd.grad(force.square().sum(), place)
        return energy, second - force


@pytest.mark.parametrize(("module", "shape"), [(Fourier2d, (2, 3, 8, 6)), (Rotates, (2, 4)), (Forces, (2, 4, 3))])
def test_other_weights_in_one_graph(module: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = module()
    observation = Observation.of(sample_of(net, "forward", ((torch.randn(*shape),), {})), "a test")
    plan = prepare(private_copy(net), [observation], ExportConfig())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    made = produce(plan, LoadedModule(private_copy(net), Source()), tmp_path / "x")
    assert made.passed, made.manifest["checks"]
    x = torch.randn(5, *shape[1:])
    with torch.no_grad():
        expected = net(x)
    name = made.signature.inputs[0].name
    actual = outside.run(made.model_path, **{name: x})
    for a, e in zip(actual, expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_allclose(a, e.detach(), atol=1e-5)


def test_image_of_another_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, axes = Fourier2d(), {"x": {0: "batch", 2: "height", 3: "width"}}
    made = lightning_onnx.export(net, torch.randn(2, 3, 8, 6), directory=tmp_path / "x", dynamic_axes=axes)
    for size in ((12, 9), (7, 10)):
        x = torch.randn(1, 3, *size)
        with torch.no_grad():
            np.testing.assert_allclose(outside.run(made.model_path, x=x)[0], net(x), atol=1e-5)


Z, W, X = torch.randn(3, 4, dtype=torch.cfloat), torch.randn(3, 4, dtype=torch.cfloat), torch.randn(3, 4)
OPERATORS: list[tuple[Any, tuple[Any, ...]]] = [
    (aten.add.Tensor, (Z, W)),
    (aten.add.Tensor, (X[:, :1], Z)),
    (aten.add.Tensor, (Z, 2)),
    (aten.sub.Tensor, (Z, X)),
    (aten.mul.Tensor, (Z, W)),
    (aten.mul.Tensor, (X, Z)),
    (aten.mul.Tensor, (Z, 2 - 1j)),
    (aten.mul.Tensor, (X, 1j)),
    (aten.div.Tensor, (Z, W)),
    (aten.div.Tensor, (Z, 3)),
    (aten.mm.default, (Z, W.T)),
    (aten.abs.default, (Z,)),
    (aten.exp.default, (Z,)),
    (aten.angle.default, (Z,)),
    (aten.pow.Tensor_Scalar, (Z, 3)),
    (aten.reciprocal.default, (Z,)),
    (aten.cat.default, ([Z, W], 1)),
    (aten.select_scatter.default, (Z, W[0], 0, 1)),
    (aten.index.Tensor, (Z, [torch.tensor([2, 0])])),
    (aten.constant_pad_nd.default, (Z, [1, 2], 0.0)),
    (aten.masked_fill.Scalar, (Z, X > 0, 2)),
    (aten.full_like.default, (Z, 2)),
    (aten.full.default, ([2, 3], 1 + 2j)),
    (aten.where.self, (X > 0, Z, W)),
    (aten.sum.dim_IntList, (Z, [0])),
    (aten._fft_c2c.default, (Z, [1], 0, True)),
    (aten._fft_c2r.default, (Z, [1], 2, 6)),
    (aten._fft_c2r.default, (Z, [1], 1, 7)),
    (aten._fft_c2r.default, (Z, [1, 0], 2, 4)),
    (aten._fft_r2c.default, (X, [1], 0, True)),
]


@pytest.mark.parametrize(("operator", "arguments"), OPERATORS, ids=[str(o) for o, _ in OPERATORS])
def test_pairs_compute_what_complex_tensors_do(operator: Any, arguments: tuple[Any, ...]) -> None:
    def paired(value: Any) -> Any:
        if isinstance(value, list):
            return [paired(v) for v in value]
        return split(value) if isinstance(value, Tensor) and value.is_complex() else value

    options = {"dtype": torch.cfloat} if operator is aten.full.default else {}
    if operator is aten._fft_c2r.default and arguments[1] == [1, 0]:  # the last dim listed is the halved one
        arguments = (Z.new_tensor(torch.fft.rfft2(torch.randn(4, 4), dim=(1, 0)).numpy()), *arguments[1:])
    expected = operator(*arguments, **options)
    actual = run(operator, tuple(paired(a) for a in arguments), options)
    torch.testing.assert_close(join(actual) if isinstance(actual, Pair) else actual, expected)
