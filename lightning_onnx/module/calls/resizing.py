"""Tensors at other sizes, made of observed values; which dims must not shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Axes = tuple[dict[int, str], ...]
"""For each input the names of its dynamic dims by position."""


def resize(tensors: Sequence[Tensor], axes: Axes, sizes: Mapping[str, int]) -> tuple[Tensor, ...]:
    """Cut or repeat ``tensors`` along their named dims: real values at other sizes, so that token ids stay valid.

    Integers that rise keep rising: offsets and graph numbers have no meaning out of order.
    """
    resized = []
    for tensor, named in zip(tensors, axes, strict=True):
        for dim, name in named.items():
            if name in sizes and tensor.shape[dim] not in (0, sizes[name]):
                index = torch.arange(sizes[name]) % tensor.shape[dim]
                if _rises(tensor, dim):
                    index = index.sort().values
                tensor = tensor.index_select(dim, index)
        resized.append(tensor.contiguous())
    return tuple(resized)


def _rises(tensor: Tensor, dim: int) -> bool:
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        return False
    steps = tensor.diff(dim=dim)
    return bool((steps >= 0).all() and (steps > 0).any())


def pointed_at(tensors: Sequence[Tensor], axes: Axes) -> set[str]:
    """Return the dims that another input's numbers may point into (graph numbers, regions of images, offsets).

    Fewer entries than were observed would let them point behind the end, which not every kernel checks. Numbers point
    where they are whole, not negative, below the size, and more than a mask's zeros and ones.

    Example:
        >>> images, regions = torch.zeros(4, 3), torch.tensor([[0.0, 7.5], [2.0, 1.5]])
        >>> pointed_at((images, regions), ({0: "batch"}, {0: "regions"}))
        {'batch'}
    """
    sizes = {name: t.shape[d] for t, named in zip(tensors, axes, strict=True) for d, name in named.items()}
    return {
        name
        for name, size in sizes.items()
        for t, named in zip(tensors, axes, strict=True)
        if name not in named.values() and _points(t, size)
    }


def kept_whole(tensors: Sequence[Tensor], axes: Axes) -> set[str]:
    """Return the dims of which the first few entries say too little: those that are pointed at, and grouped ones.

    Example:
        >>> nodes, graph = torch.zeros(5, 3), torch.tensor([0, 0, 1, 1, 2])
        >>> kept_whole((nodes, graph), ({0: "nodes"}, {0: "nodes"}))
        {'nodes'}
    """
    grouped = {name for t, named in zip(tensors, axes, strict=True) for name in named.values() if _groups(t)}
    return pointed_at(tensors, axes) | grouped


def _groups(tensor: Tensor) -> bool:
    """Tell whether numbers say which rows belong together (a graph's number for each node): few rows are one group."""
    if tensor.dim() != 1 or not _rises(tensor, 0):
        return False
    steps = tensor.diff()
    return bool(tensor[0] == 0 and steps.max() == 1 and (steps == 0).any())


def _points(tensor: Tensor, size: int) -> bool:
    if tensor.dtype == torch.bool or tensor.is_complex() or not 0 < tensor.dim() < 3 or not tensor.numel():
        return False
    columns = tensor if tensor.dim() == 2 and tensor.is_floating_point() else tensor.reshape(-1, 1)
    points = (columns >= 0) & (columns < size) & (columns == columns.round())
    return bool((points.all(0) & (columns.amax(0) >= 2)).any())
