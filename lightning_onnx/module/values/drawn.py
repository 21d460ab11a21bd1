"""Values drawn like observed ones: same shapes and dtypes, floats with the same mean and spread, integers in range.

No float is one of the observed ones, so that nothing of the training data travels. Possible indices stay valid: whole
numbers are drawn between zero and the largest, integers in their range, and each column of a table in its own. Where
nearly all of these were observed, as with flags and small vocabularies, the observed ones are drawn in another order.
A sample that only shows a shape, such as zeros, gives numbers from zero to one, and an image whose bytes are all equal
gives any bytes. Where integers are all zero, even seeds also draw ones, which a module may refuse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_onnx.module.calls.resizing import ascends
from lightning_onnx.module.values.columns import drawn_columns, has_columns

TRIES = 4
"""Number of seeds for ``drawn_like``; with the last one, all masks are ones, and small whole numbers observed ones."""

_MARGIN = 0.01

_SMALL = 1000
"""Whole numbers below this may be indices or codes."""

_TOWARDS_ZERO = 0.9, 0.99
"""Where values of only one kind are drawn, as shares of it: signs and upper limits stay."""

_BYTES = 256

_REDRAWN = 16
"""Times that an observed float is drawn again, in the second half nearer to zero: some dtypes have few values."""


Between = Callable[[Tensor, Tensor], Tensor]


def drawn_like(tensors: Sequence[Tensor], seed: int = 0, *, may_repeat: bool = False) -> tuple[Tensor, ...]:
    """Return inputs that were not observed; the same observed values give the same inputs.

    Args:
        tensors: Observed inputs.
        seed: Chooses one of many draws.
        may_repeat: Whether single values may be observed ones, which takes less time: for inputs that are not kept.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = _Draw(generator, may_repeat, is_last=seed == TRIES - 1, takes_ones=seed % 2 == 0)
    return tuple(_like(t, draw) for t in tensors)


@dataclasses.dataclass(frozen=True)
class _Draw:
    """How to draw.

    Attributes:
        generator: Where random numbers come from.
        may_repeat: Whether observed floats may be drawn.
        is_last: Whether this is the last try, for modules that accept only what occurs in training.
        takes_ones: Whether integers that are all zero may become one.
    """

    generator: torch.Generator
    may_repeat: bool
    is_last: bool
    takes_ones: bool


def whole_columns(tensor: Tensor) -> Tensor:
    """Tell for each index of the last dim whether all floats there are whole numbers; for a vector, for all at once."""
    whole = torch.isfinite(tensor) & (tensor == tensor.round())
    return whole.reshape(-1, tensor.shape[-1] if tensor.dim() > 1 else 1).all(0)


def _like(tensor: Tensor, draw: _Draw) -> Tensor:
    generator = draw.generator
    if tensor.numel() == 0:
        return tensor.clone()
    made_up = None if draw.is_last else _made_up(tensor, draw)
    if made_up is not None:
        return made_up
    if tensor.dtype == torch.bool:
        share = 1.0 if draw.is_last else float(tensor.double().mean())
        return torch.rand(tensor.shape, generator=generator) < share
    if tensor.is_complex():
        parts = torch.view_as_real(tensor)
        return torch.view_as_complex(_normal(parts, draw).contiguous())
    if tensor.is_floating_point():
        drawn = _normal(tensor, draw)
        whole = whole_columns(tensor)
        return torch.where(whole, _whole(tensor, draw), drawn).reshape(tensor.shape) if whole.any() else drawn
    if has_columns(tensor):
        return drawn_columns(tensor, generator, may_repeat=draw.may_repeat, is_last=draw.is_last)
    low, high = int(tensor.min()), int(tensor.max())
    if low == high >= _SMALL and not draw.may_repeat:  # it may be private; what is below is valid where it is an index
        low, high = high // 2, high - 1
    drawn = torch.randint(low, high + 1, tensor.shape, generator=generator, dtype=tensor.dtype)
    is_ordered = tensor.dim() == 1 and ascends(tensor, 0)  # offsets and graph numbers are invalid in another order
    return drawn.sort().values if is_ordered else drawn


def _made_up(tensor: Tensor, draw: _Draw) -> Tensor | None:
    """Return values for a tensor that only shows a shape, as ``torch.zeros(1, 3, 224, 224)`` does; None for others.

    Such are images whose bytes are all equal, and numbers that are all zero. The fractions that replace zeros are still
    zero where they are indices.
    """
    if tensor.dtype == torch.uint8 and tensor.dim() > 2 and (tensor == tensor.reshape(-1)[0]).all():
        return torch.randint(0, _BYTES, tensor.shape, generator=draw.generator, dtype=tensor.dtype)
    if tensor.numel() == 1 or tensor.dtype == torch.bool or tensor.is_complex() or tensor.any():
        return None
    if tensor.is_floating_point():
        return torch.rand(tensor.shape, generator=draw.generator).to(tensor.dtype)
    if draw.takes_ones and tensor.dim() > 1:
        return torch.randint(0, 2, tensor.shape, generator=draw.generator, dtype=tensor.dtype)
    return None


def _normal(tensor: Tensor, draw: _Draw) -> Tensor:
    """Draw from the normal distribution with the observed mean and spread, within the observed range."""
    values = tensor.double()
    finite = values[torch.isfinite(values)]
    if not finite.numel():
        return torch.zeros_like(tensor)
    mean, spread = finite.mean(), finite.std(correction=0)
    low, high = float(finite.min()), float(finite.max())
    if low == high and not draw.may_repeat:
        low, high = sorted(share * (low or 1.0) for share in _TOWARDS_ZERO)
        mean, spread = finite.new_tensor(low / 2 + high / 2), finite.new_tensor((high - low) / 4)
    drawn = torch.randn(tensor.shape, generator=draw.generator, dtype=torch.float64) * spread + mean
    margin = _MARGIN * (high - low)  # the extremes themselves are training data
    low, high = low + margin, high - margin
    return _unobserved(drawn.clamp(low, high), finite, tensor.dtype, lambda share, _: low + share * (high - low), draw)


def _unobserved(drawn: Tensor, observed: Tensor, dtype: torch.dtype, between: Between, draw: _Draw) -> Tensor:
    """Return values in a dtype, with those that were observed drawn again.

    Args:
        drawn: The values, in float64.
        observed: The observed ones, in float64.
        dtype: The dtype of the result.
        between: Returns a value of the range for each share of it, from 0 to 1, and each place in the flat tensor.
        draw: How to draw.
    """
    if draw.may_repeat:
        return drawn.to(dtype)
    known = observed.reshape(-1).to(_comparable(dtype)).sort().values
    made = drawn.to(dtype).reshape(-1)
    left = torch.arange(made.numel())
    for attempt in range(_REDRAWN):
        left = left[_is_in(made[left].to(known.dtype), known)]
        if not len(left):
            break
        nearer = 0.5 ** max(0, attempt - _REDRAWN // 2)
        share = torch.rand(len(left), generator=draw.generator, dtype=torch.float64)
        made[left] = (between(share, left) * nearer).to(dtype)
    return made.reshape(drawn.shape)


def _comparable(dtype: torch.dtype) -> torch.dtype:
    """Return a dtype that holds the values and that torch can sort and search."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _is_in(values: Tensor, known: Tensor) -> Tensor:
    """Tell which values are among sorted ones."""
    return known[torch.searchsorted(known, values).clamp(max=len(known) - 1)] == values


def _whole(tensor: Tensor, draw: _Draw) -> Tensor:
    """Draw whole numbers for each index of the last dim; columns with other values give numbers without a meaning."""
    columns = tensor.reshape(-1, tensor.shape[-1] if tensor.dim() > 1 else 1)
    largest = columns.abs().amax(0)
    small = largest < _SMALL
    found = _small(columns, draw) if small.any() else columns
    if not small.all():
        found = torch.where(small, found, _large(columns, draw))
    return found.reshape(tensor.shape)


def _large(columns: Tensor, draw: _Draw) -> Tensor:
    """Draw whole numbers in the range of each column, which may be private, such as an account number."""
    low, high = columns.amin(0).double(), columns.amax(0).double()
    if not draw.may_repeat:
        low = torch.where(low == high, low / 2, low)

    def between(share: Tensor, places: Tensor) -> Tensor:
        column = places % columns.shape[1]
        return (low[column] + share * (high - low)[column]).round()

    places = torch.arange(columns.numel())
    share = torch.rand(columns.numel(), generator=draw.generator, dtype=torch.float64)
    drawn = between(share, places).reshape(columns.shape)
    return _unobserved(drawn, columns[torch.isfinite(columns)], columns.dtype, between, draw)


def _small(columns: Tensor, draw: _Draw) -> Tensor:
    """Draw whole numbers that may be indices or codes: between zero and the largest, or observed ones."""
    rows = torch.randint(0, len(columns), columns.shape, generator=draw.generator)
    picked = columns.gather(0, rows)
    flags = columns.abs().amax(0) <= 1
    if len(columns) == 1 and flags.any() and not draw.may_repeat:  # one row of flags: in another order
        pool = columns[0, flags]
        picked[0, flags] = pool[torch.randperm(len(pool), generator=draw.generator)]
    if draw.is_last or draw.may_repeat:
        return picked
    whole = columns[(columns.abs() < _SMALL) & (columns == columns.round())]
    known = torch.zeros(_SMALL, dtype=torch.bool)
    known[whole.abs().long()] = True
    free = (~known).nonzero()[:, 0]
    low, high = columns.amin(0), columns.amax(0)
    largest = torch.where(high < 0, -low, high).nan_to_num(0).clamp(0, _SMALL - 1).long()
    below, observed_below = (~known).cumsum(0)[largest], known.cumsum(0)[largest]
    takes_others = (below > 0) & (below >= observed_below) & ~flags
    if not takes_others.any():
        return picked
    share = torch.rand(columns.shape, generator=draw.generator)
    others = free[(share * below).long().clamp(max=len(free) - 1)] * torch.where(high < 0, -1, 1)
    return torch.where(takes_others, others.to(columns.dtype), picked)
