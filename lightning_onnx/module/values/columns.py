"""Integers in columns, such as categories of a table: each index of the last dim has a range of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MOST = 64
"""A longer last dim is mostly a length, whose places mean the same."""

_ENOUGH_ROWS = 8
"""With fewer rows, values of single columns would be nearly those of an observed row."""

_PRIVATE = 1000
"""A column that has only one number from here on may hold a private one; smaller ones are mostly codes."""


def has_columns(tensor: Tensor) -> bool:
    """Tell whether a tensor holds integers in few columns.

    Args:
        tensor: Inputs of any dtype and shape.
    """
    is_integer = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    return is_integer and tensor.dim() > 1 and 1 < tensor.shape[-1] <= _MOST and tensor.numel() > 0


def drawn_columns(tensor: Tensor, generator: torch.Generator, *, may_repeat: bool, is_last: bool) -> Tensor:
    """Draw integers in the range of each column; with few rows, from the smallest number of all columns on.

    Args:
        tensor: Observed integers in columns.
        generator: Where random numbers come from.
        may_repeat: Whether single values may be observed ones.
        is_last: Whether to draw observed values of each column, for modules that take only these.
    """
    columns = tensor.reshape(-1, tensor.shape[-1]).long()
    has_many = len(columns) >= _ENOUGH_ROWS
    low, high = columns.amin(0), columns.amax(0)
    is_private = (low == high) & (high >= _PRIVATE) & (not may_repeat)
    low = low if has_many or (is_last and len(columns) > 1) else columns.amin().expand_as(low)
    low, high = torch.where(is_private, high // 2, low), torch.where(is_private, high - 1, high)
    share = torch.rand(columns.shape, generator=generator, dtype=torch.float64)
    drawn = torch.minimum(low + (share * (high - low + 1)).long(), high)
    if is_last and has_many:
        rows = torch.randint(0, len(columns), columns.shape, generator=generator)
        drawn = torch.where(columns.abs().amax(0) < _PRIVATE, columns.gather(0, rows), drawn)
    return drawn.to(tensor.dtype).reshape(tensor.shape)


def at_ends(tensor: Tensor, calls: Sequence[Tensor], *, largest: bool) -> Tensor:
    """Return integers at one end of the observed range of each column.

    Args:
        tensor: Integers in columns.
        calls: The same input in the observed calls; those with another number of columns are ignored.
        largest: Whether it is the upper end.
    """
    width = tensor.shape[-1]
    seen = torch.cat([c.reshape(-1, width) for c in (tensor, *calls) if c.dim() and c.shape[-1] == width and c.numel()])
    return (seen.amax(0) if largest else seen.amin(0)).expand_as(tensor).clone()
