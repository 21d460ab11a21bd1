"""Tensors become the arrays that runtimes take: in order, without gradients, by name."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch

from lightning_onnx.module.arrays import feeds, to_numpy
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
