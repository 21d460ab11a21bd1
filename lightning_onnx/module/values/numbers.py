"""The numbers that a module holds and may branch on: thresholds, temperatures, ends of ranges."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_SMALL = 4
"""Maximum number of elements of a tensor of settings; a larger one holds weights."""

_MOST = 16
"""How many numbers are tried: those with the smallest magnitudes."""

_LIBRARIES = ("torch.", "lightning.", "pytorch_lightning.", "torchmetrics.")
"""Packages whose classes hold settings of their own, such as ``eps`` and ``momentum``."""


def numbers_of(module: nn.Module) -> tuple[float, ...]:
    """Return numbers among the plain attributes, small parameters and small buffers of a module and its children.

    Args:
        module: The module.

    Example:
        >>> class Clipped(nn.Module):
        ...     limits = (0.25, 6.0)
        >>> numbers_of(Clipped())
        (0.25, 6.0)
    """
    found = {float(n) for part in module.modules() for n in _of_part(part)}
    return tuple(sorted(found, key=abs)[:_MOST])


def _of_part(part: nn.Module) -> Iterator[float]:
    for tensor in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
        yield from _of_value(tensor)
    for owner in type(part).__mro__:
        if not f"{owner.__module__}.".startswith(_LIBRARIES):
            yield from _of_values(value for name, value in vars(owner).items() if not name.startswith("__"))
    if not f"{type(part).__module__}.".startswith(_LIBRARIES):
        yield from _of_values(v for k, v in vars(part).items() if not k.startswith("_") or k == "_hparams")


def _of_values(values: Iterable[Any]) -> Iterator[float]:
    for value in values:
        yield from _of_value(value)


def _of_value(value: object) -> Iterator[float]:
    if isinstance(value, Tensor):
        if 0 < value.numel() <= _SMALL and not value.is_complex() and value.dtype != torch.bool:
            yield from (n for n in value.detach().double().flatten().tolist() if _is_finite(n))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if _is_finite(value):
            yield float(value)
    elif isinstance(value, Mapping):
        yield from _of_values(value.values())
    elif isinstance(value, (list, tuple)) and len(value) <= _MOST:
        yield from _of_values(value)


def _is_finite(number: int | float) -> bool:
    return abs(number) <= sys.float_info.max
