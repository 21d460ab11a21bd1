"""The frequencies of a Fourier transform of any number of values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def fftfreq(n: int | torch.SymInt, d: float = 1.0, *, dtype: torch.dtype | None = None, **options: object) -> Tensor:
    """Return the frequencies of a transform, in the order of its results: the negative ones come last."""
    number = torch.arange(n, dtype=torch.int64)
    number = torch.where(number < (n + 1) // 2, number, number - n)
    return _frequencies(number, n, d, dtype)


def rfftfreq(n: int | torch.SymInt, d: float = 1.0, *, dtype: torch.dtype | None = None, **options: object) -> Tensor:
    """Return the frequencies of half of a spectrum."""
    return _frequencies(torch.arange(n // 2 + 1, dtype=torch.int64), n, d, dtype)


def _frequencies(number: Tensor, n: int | torch.SymInt, d: float, dtype: torch.dtype | None) -> Tensor:
    each: Any = 1.0 / (n * d)
    found: Tensor = number.to(dtype or torch.get_default_dtype()) * each
    return found
