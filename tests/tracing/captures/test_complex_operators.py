"""Operators on pairs of real tensors compute what torch computes on complex ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_onnx.tracing.captures.complex_operators import run
from lightning_onnx.tracing.captures.complex_pairs import Pair, join, split

aten = torch.ops.aten


_numbers = torch.Generator().manual_seed(0)
Z, W = torch.randn(2, 3, 4, dtype=torch.cfloat, generator=_numbers)
X = torch.randn(3, 4, generator=_numbers)
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
def test_pairs_compute_the_same_as_complex_tensors(operator: Any, arguments: tuple[Any, ...]) -> None:
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
