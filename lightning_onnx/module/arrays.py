"""Tensors as the numpy arrays that runtimes take, and digests of their values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_onnx.module.calls.signature import TensorSpec

Content = tuple[torch.dtype, torch.Size, bytes]
"""The dtype and shape of a tensor, and the SHA-256 of its values."""


def content_of(tensor: Tensor) -> Content:
    """Return what a tensor holds: equal for equal bytes of the same dtype and shape.

    Raises:
        RuntimeError: If the bytes of the tensor cannot be read, such as those of a meta tensor.

    Example:
        >>> content_of(torch.tensor([1, 2])) == content_of(torch.tensor([2, 1]))
        False
    """
    dense = tensor.detach().cpu()
    dense = dense if dense.layout is torch.strided else dense.to_dense()
    flat = dense.resolve_conj().resolve_neg().contiguous().reshape(-1)
    return tensor.dtype, tensor.shape, hashlib.sha256(flat.view(torch.uint8).numpy().data).digest()


def to_numpy(tensor: Tensor) -> NDArray[np.generic]:
    """Return a tensor as an array in C order, a sparse one with its zeros; bfloat16 uses the dtype of ``ml_dtypes``."""
    tensor = tensor.detach().cpu()
    tensor = tensor if tensor.layout is torch.strided else tensor.to_dense()
    if tensor.dtype == torch.bfloat16:
        import ml_dtypes

        return np.asarray(tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16), order="C")
    return np.asarray(tensor.resolve_conj().resolve_neg().numpy(), order="C")


def to_tensor(array: NDArray[np.generic]) -> Tensor:
    """Return an array of ``to_numpy`` as a tensor, which shares no memory with it."""
    if array.dtype.name == "bfloat16":
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(array)


def feeds(inputs: Iterable[TensorSpec], tensors: Iterable[Tensor]) -> dict[str, NDArray[np.generic]]:
    """Return the feeds of a session: an array for each input, by name.

    Args:
        inputs: The graph's inputs.
        tensors: One for each, in the same order.

    Raises:
        ValueError: If there are more inputs than tensors, or fewer.
    """
    return {spec.name: to_numpy(tensor) for spec, tensor in zip(inputs, tensors, strict=True)}
