"""Values drawn like observed ones: same shapes and dtypes, floats with the same mean and spread, integers in range.

Possible indices stay valid: whole numbers are drawn from the observed ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_onnx.module.calls.resizing import ascends

TRIES = 4
"""Number of seeds for ``drawn_like``; with the last one, all masks are ones."""

_MARGIN = 0.01

_SMALL = 1000
"""Whole numbers below this may be indices or codes."""


def drawn_like(tensors: Sequence[Tensor], seed: int = 0) -> tuple[Tensor, ...]:
    """Return inputs that were not observed; the same observed values give the same inputs.

    Args:
        tensors: Observed inputs.
        seed: Chooses one of many draws.
    """
    generator = torch.Generator().manual_seed(seed)
    return tuple(_like(t, generator, open_mask=seed == TRIES - 1) for t in tensors)


def whole_columns(tensor: Tensor) -> Tensor:
    """Tell for each index of the last dim whether all floats there are whole numbers; for a vector, for all at once."""
    whole = torch.isfinite(tensor) & (tensor == tensor.round())
    return whole.reshape(-1, tensor.shape[-1] if tensor.dim() > 1 else 1).all(0)


def _like(tensor: Tensor, generator: torch.Generator, open_mask: bool) -> Tensor:
    if tensor.numel() == 0:
        return tensor.clone()
    if tensor.dtype == torch.bool:
        share = 1.0 if open_mask else float(tensor.double().mean())
        return torch.rand(tensor.shape, generator=generator) < share
    if tensor.is_complex():
        parts = torch.view_as_real(tensor)
        return torch.view_as_complex(_normal(parts, generator).contiguous())
    if tensor.is_floating_point():
        drawn = _normal(tensor, generator)
        whole = whole_columns(tensor)
        return torch.where(whole, _picked(tensor, generator), drawn).reshape(tensor.shape) if whole.any() else drawn
    low, high = int(tensor.min()), int(tensor.max())
    drawn = torch.randint(low, high + 1, tensor.shape, generator=generator, dtype=tensor.dtype)
    is_ordered = tensor.dim() == 1 and ascends(tensor, 0)  # offsets and graph numbers are invalid in another order
    return drawn.sort().values if is_ordered else drawn


def _normal(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw from the normal distribution with the observed mean and spread, within the observed range."""
    finite = tensor.double()[torch.isfinite(tensor)]
    if not finite.numel():
        return torch.zeros_like(tensor)
    mean, spread = finite.mean(), finite.std(correction=0)
    drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * spread + mean
    low, high = float(finite.min()), float(finite.max())
    margin = _MARGIN * (high - low)  # the extremes themselves are training data
    return drawn.clamp(low + margin, high - margin).to(tensor.dtype)


def _picked(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw whole numbers for each index of the last dim: small ones from the observed ones, large ones in their range.

    Large numbers are not reused, because they may be private, such as an account number.
    """
    columns = tensor.reshape(-1, tensor.shape[-1] if tensor.dim() > 1 else 1)
    places = torch.randint(0, len(columns), columns.shape, generator=generator)
    low, high = columns.amin(0).double(), columns.amax(0).double()
    share = torch.rand(columns.shape, generator=generator, dtype=torch.float64)
    ranged = (low + share * (high - low)).round().to(tensor.dtype)
    is_small = columns.abs().amax(0) < _SMALL
    return torch.where(is_small, columns.gather(0, places), ranged).reshape(tensor.shape)
