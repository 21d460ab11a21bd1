"""Observed tensors at other sizes, and which dims must not shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Axes = tuple[dict[int, str], ...]
"""For each input, the names of its dynamic dims by index."""


def resize(
    tensors: Sequence[Tensor], axes: Axes, sizes: Mapping[str, int], *, in_turns: bool = True
) -> tuple[Tensor, ...]:
    """Cut or repeat ``tensors`` along their named dims; their values stay realistic, such as valid token ids.

    Ascending integers stay ascending: offsets and graph numbers are invalid in another order.

    Args:
        tensors: The tensors.
        axes: The names of their dims.
        sizes: The new size of each dim by name; other dims stay.
        in_turns: Whether entries are repeated in their order; otherwise in a random order with a fixed seed.
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
    """Return the dims that numbers of another input may index (graph numbers, regions of images, offsets).

    If such a dim had fewer entries than observed, indices could be out of range, which not every kernel checks.
    Numbers may be indices if they are whole, not negative, below the size, and not only zeros and ones as in a mask.

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
    """Return the dims that must not be cut to a few entries: indexed ones, and those whose rows form groups.

    Example:
        >>> nodes, graph = torch.zeros(5, 3), torch.tensor([0, 0, 1, 1, 2])
        >>> kept_whole((nodes, graph), ({0: "nodes"}, {0: "nodes"}))
        {'nodes'}
    """
    grouped = {name for t, named in zip(tensors, axes, strict=True) for name in named.values() if _groups(t)}
    return pointed_at(tensors, axes) | grouped


def _groups(tensor: Tensor) -> bool:
    """Tell whether numbers assign rows to groups (a graph number for each node): the first few rows are one group."""
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
