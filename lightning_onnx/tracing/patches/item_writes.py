"""Writing to selected items of a tensor, as the TorchScript based exporter can translate it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_set_item = Tensor.__setitem__


def set_item(self: Tensor, key: object, value: object) -> None:
    """Write as before, with an ellipsis beside tensors written as full slices."""
    _set_item(self, _without_ellipsis(key, self.dim()), value)  # type: ignore[arg-type]


def _without_ellipsis(key: object, dims: int) -> object:
    """Return a key with ``:`` for each dim that its ellipsis stands for; a key without tensors stays as it is."""
    if not isinstance(key, tuple) or not any(isinstance(k, Tensor | list) for k in key):
        return key
    rest = dims - sum(_number_of_dims(k) for k in key)
    return tuple(_spelled(key, rest))


def _spelled(key: tuple[object, ...], rest: int) -> Iterator[object]:
    for k in key:
        yield from [slice(None)] * rest if k is Ellipsis else [k]


def _number_of_dims(item: object) -> int:
    """Return how many dims of the tensor an item of the key selects from."""
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    return item.dim() if isinstance(item, Tensor) and item.dtype == torch.bool else 1
