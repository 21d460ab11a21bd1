"""Tensors become the arrays that runtimes take: in order, without gradients, by name."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch

from lightning_onnx.module.arrays import content_of, feeds, to_numpy
from lightning_onnx.module.calls.signature import TensorSpec


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(3, 2, requires_grad=True),
        torch.randn(3, 2).T,
        torch.randn(3, 2, dtype=torch.complex64).conj(),
        torch.tensor(True),
        torch.zeros(0, 4, dtype=torch.int64),
    ],
)
def test_values_shape_and_order(tensor: torch.Tensor) -> None:
    array = to_numpy(tensor)
    assert array.flags.c_contiguous
    assert torch.equal(torch.from_numpy(array), tensor.detach())


def test_bfloat16_keeps_its_values() -> None:
    tensor = torch.randn(4, 3, dtype=torch.bfloat16)
    array = to_numpy(tensor)
    assert array.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(array.astype(np.float32), tensor.float().numpy())


def test_feeds_go_by_name_and_none_is_left_over() -> None:
    specs = [TensorSpec("x", "float32", ("batch", 2)), TensorSpec("n", "int64", (1,))]
    tensors = [torch.randn(3, 2), torch.tensor([4])]
    found = feeds(specs, tensors)
    assert {name: array.shape for name, array in found.items()} == {"x": (3, 2), "n": (1,)}
    with pytest.raises(ValueError, match="zip"):
        feeds(specs, tensors[:1])


WEIGHTS = torch.tensor([1.0, 2.0, 3.0, 3.0])


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.complex64, torch.uint16, torch.int64]
)
@pytest.mark.parametrize("other", [WEIGHTS.flip(0), -WEIGHTS, torch.tensor([1.0, 2.0, 5.0, 5.0]), WEIGHTS[None]])
def test_content_tells_values_apart(dtype: torch.dtype, other: torch.Tensor) -> None:
    if dtype is torch.uint16:
        other = other.abs() + 1
    assert content_of(WEIGHTS.to(dtype)) == content_of(WEIGHTS.clone().to(dtype))
    assert content_of(WEIGHTS.to(dtype)) != content_of(other.to(dtype))


def test_content_of_sparse_empty_and_single_values() -> None:
    one, two = torch.eye(2).to_sparse(), torch.eye(2).flip(0).to_sparse()
    assert content_of(one) == content_of(one.clone()) != content_of(two)
    assert content_of(torch.zeros(0, 2)) != content_of(torch.zeros(0, 3))
    assert content_of(torch.tensor(1.0)) != content_of(torch.tensor(2.0))
    assert content_of(torch.zeros(2)) != content_of(torch.zeros(2, dtype=torch.int32))
    with pytest.raises(RuntimeError, match="meta"):
        content_of(torch.zeros(2, device="meta"))
