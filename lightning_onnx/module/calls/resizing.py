"""Observed tensors at other sizes, and which dims must not shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Axes = tuple[dict[int, str], ...]
"""For each input the names of its dynamic dims by position."""


def resize(
    tensors: Sequence[Tensor], axes: Axes, sizes: Mapping[str, int], *, in_turns: bool = True
) -> tuple[Tensor, ...]:
    """Cut or repeat ``tensors`` along their named dims, so that their values stay real ones, such as valid token ids.

    Integers in ascending order stay in ascending order: offsets and graph numbers mean nothing in another order.

    Args:
        tensors: The tensors.
        axes: The names of their dims.
        sizes: The new size of each dim by name; others stay.
        in_turns: Whether what is repeated comes in the same order again; else in a random order, always the same.
    """
    resized = []
    for tensor, named in zip(tensors, axes, strict=True):
        for dim, name in named.items():
            if name in sizes and tensor.shape[dim] not in (0, sizes[name]):
                index = torch.arange(sizes[name]) % tensor.shape[dim]
                if not in_turns:
                    index[tensor.shape[dim] :] = _any_of(tensor.shape[dim], len(index) - tensor.shape[dim])
                if ascends(tensor, dim):
                    index = index.sort().values
                tensor = tensor.index_select(dim, index)
        resized.append(tensor.contiguous())
    return tuple(resized)


def _any_of(size: int, count: int) -> Tensor:
    return torch.randint(size, (max(count, 0),), generator=torch.Generator().manual_seed(0))


def ascends(tensor: Tensor, dim: int) -> bool:
    """Tell whether a tensor holds integers in ascending order, not all equal."""
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        return False
    steps = tensor.diff(dim=dim)
    return bool((steps >= 0).all() and (steps > 0).any())


def pointed_at(tensors: Sequence[Tensor], axes: Axes) -> set[str]:
    """Return the dims that the numbers of another input may be indices of (graph numbers, regions of images, offsets).

    With fewer entries than were observed such numbers could point past the end, which not every kernel checks. Numbers
    may be indices if they are whole, not negative, below the size, and more than a mask's zeros and ones.

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
        if name not in named.values() and _may_index(t, size)
    }


def kept_whole(tensors: Sequence[Tensor], axes: Axes) -> set[str]:
    """Return the dims whose first few entries are not enough: those that are pointed at, and those in groups.

    Example:
        >>> nodes, graph = torch.zeros(5, 3), torch.tensor([0, 0, 1, 1, 2])
        >>> kept_whole((nodes, graph), ({0: "nodes"}, {0: "nodes"}))
        {'nodes'}
    """
    grouped = {name for t, named in zip(tensors, axes, strict=True) for name in named.values() if _groups(t)}
    return pointed_at(tensors, axes) | grouped


def _groups(tensor: Tensor) -> bool:
    """Tell whether numbers say which rows belong together (a graph's number for each node): few rows are one group."""
    if tensor.dim() != 1 or not ascends(tensor, 0):
        return False
    steps = tensor.diff()
    return bool(tensor[0] == 0 and steps.max() == 1 and (steps == 0).any())


def _may_index(tensor: Tensor, size: int) -> bool:
    """Tell whether a tensor, or a column of floats, may hold indices of a dim."""
    if tensor.dtype == torch.bool or tensor.is_complex() or not 0 < tensor.dim() < 3 or not tensor.numel():
        return False
    columns = tensor if tensor.dim() == 2 and tensor.is_floating_point() else tensor.reshape(-1, 1)
    may = (columns >= 0) & (columns < size) & (columns == columns.round())
    return bool((may.all(0) & (columns.amax(0) >= 2)).any())
