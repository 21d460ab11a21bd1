"""The numbers that a module holds and may branch on: thresholds, temperatures, ends of ranges."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx.module.user_code import is_project

_SMALL = 4
"""Maximum number of elements of a tensor of settings; a larger one holds weights."""

_MOST = 16
"""How many numbers are tried: settings with the smallest magnitudes, then numbers of tensors."""

_LIBRARIES = ("torch.", "lightning.", "pytorch_lightning.", "torchmetrics.")
"""Packages whose classes hold settings of their own, such as ``eps`` and ``momentum``."""


def numbers_of(module: nn.Module, method: str = "forward") -> tuple[float, ...]:
    """Return numbers of a module and its children: plain attributes, floats in the code, small parameters and buffers.

    Args:
        module: The module.
        method: The method whose code is read, besides ``forward`` of the children.

    Example:
        >>> class Clipped(nn.Module):
        ...     limits = (0.25, 6.0)
        >>> numbers_of(Clipped())
        (0.25, 6.0)
    """
    parts = list(module.modules())
    settings = {n for part in parts for n in (*_of_attributes(part), *_of_code(part, "forward"))}
    settings |= set(_of_code(module, method))
    tensors = {n for part in parts for n in _of_values((*part.parameters(False), *part.buffers(False)))} - settings
    found = (*sorted(settings, key=abs), *sorted(tensors, key=abs))
    return tuple(sorted(found[:_MOST], key=abs))


def _of_attributes(part: nn.Module) -> Iterator[float]:
    for owner in type(part).__mro__:
        if not f"{owner.__module__}.".startswith(_LIBRARIES):
            yield from _of_settings(value for name, value in vars(owner).items() if not name.startswith("__"))
    if not f"{type(part).__module__}.".startswith(_LIBRARIES):
        yield from _of_settings(v for k, v in vars(part).items() if not k.startswith("_") or k == "_hparams")


def _of_settings(values: Iterable[Any]) -> Iterator[float]:
    """Yield the numbers of any objects; those that cannot be read as the containers that they are have none."""
    for value in values:
        try:
            found = list(_of_value(value))
        except Exception:
            continue
        yield from found


def _of_code(part: nn.Module, method: str) -> Iterator[float]:
    """Yield floats that a method of the user's project is written with; integers there are mostly dims and sizes."""
    function = getattr(type(part), method, None)
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    pending = [code] if isinstance(code, CodeType) and is_project(code.co_filename) else []
    while pending:
        for constant in pending.pop().co_consts:
            if isinstance(constant, CodeType):
                pending.append(constant)
            elif isinstance(constant, float):
                yield from _of_value(constant)


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
