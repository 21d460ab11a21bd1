"""Complex tensors as pairs of real ones, for exporters that know few complex operators."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pair(NamedTuple):
    """A complex tensor.

    Attributes:
        re: The real part.
        im: The imaginary part, of the same shape and dtype.
    """

    re: Tensor
    im: Tensor


Value = Tensor | Pair | complex | float
"""What a complex operator takes: a real tensor or number has no imaginary part."""


def is_pair(value: object) -> bool:
    """Tell whether a value is a complex tensor or a pair."""
    return isinstance(value, Pair)


def split(tensor: Tensor) -> Pair:
    """Return the parts of a complex tensor."""
    parts = torch.view_as_real(tensor.resolve_conj())
    return Pair(parts.select(-1, 0), parts.select(-1, 1))


def join(pair: Pair) -> Tensor:
    """Return the complex tensor."""
    return torch.view_as_complex(torch.stack([pair.re, pair.im], -1))


def pair_of(value: Value) -> Pair:
    """Return the parts of a tensor or number; those of a number are numbers."""
    if isinstance(value, Pair):
        return value
    if isinstance(value, complex):
        return Pair(value.real, value.imag)  # type: ignore[arg-type]
    return Pair(value, 0.0)  # type: ignore[arg-type]
