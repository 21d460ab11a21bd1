"""Booleans and whole numbers, with which ONNX and onnxruntime compute less than torch does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def add(x: Any, other: Any, *, alpha: Any = 1) -> Any:
    """Add booleans, which torch does as ``or``."""
    return x | other if _boolean(x) and _boolean(other) and alpha else NotImplemented


def multiply(x: Any, other: Any) -> Any:
    """Multiply booleans, which torch does as ``and``."""
    return x & other if _boolean(x) and _boolean(other) else NotImplemented


def choose(condition: Tensor, x: Any, other: Any) -> Any:
    """Choose among booleans, for which onnxruntime has no ``Where``."""
    if not (_boolean(x) and _boolean(other)):
        return NotImplemented
    return (condition & x) | (~condition & other)


def fill(x: Tensor, mask: Tensor, value: Any) -> Any:
    """Fill a mask."""
    if not _boolean(x):
        return NotImplemented
    if isinstance(value, Tensor):
        return (x & ~mask) | (mask & value.to(torch.bool))
    return x | mask if value else x & ~mask


def subtract_from(x: Tensor, other: Any, alpha: Any = 1) -> Any:
    """Subtract whole numbers from a float."""
    x = x.to(torch.result_type(x, other))
    return (-x if alpha == 1 else x * -alpha) + other


def index(x: Tensor, indices: Sequence[Tensor | None]) -> Any:
    """Index by numbers of 64 bits, as ONNX wants it."""
    if not any(_short(i) for i in indices):
        return NotImplemented
    return torch.ops.aten.index.Tensor(x, [i.long() if i is not None and _short(i) else i for i in indices])


def softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    """Convert before the exponentials are taken; the exporter does it after."""
    return NotImplemented if dtype is None or x.is_floating_point() else torch.softmax(x.to(dtype), dim)


def mean(x: Tensor, *args: Any, dtype: torch.dtype | None = None) -> Any:
    """Convert before the mean is taken; the exporter does it after."""
    if dtype is None or x.is_floating_point() or x.is_complex():
        return NotImplemented
    return torch.mean(x.to(dtype), *args)


# When a node of a captured program needs one of these ----------------------------------------------------------------


def are_boolean(node: Any) -> bool:
    """Tell whether both operands are booleans."""
    return all(_boolean(_value(a)) for a in node.args[:2])


def is_boolean(node: Any) -> bool:
    """Tell whether the first operand is."""
    return _boolean(_value(node.args[0]))


def chooses_booleans(node: Any) -> bool:
    """Tell whether what is chosen from are booleans."""
    return all(_boolean(_value(a)) for a in node.args[1:3])


def by_short_numbers(node: Any) -> bool:
    """Tell whether an index has less than 64 bits."""
    return any(_short(_value(i)) for i in node.args[1])


def from_a_float(node: Any) -> bool:
    """Tell whether whole numbers are subtracted from a float."""
    return isinstance(node.args[1], float) and _whole(_value(node.args[0]))


def of_whole_numbers(node: Any) -> bool:
    """Tell whether whole numbers are to be made floats on the way."""
    by_place = node.args[2] if node.target is torch.ops.aten.softmax.int and len(node.args) > 2 else None
    return (node.kwargs.get("dtype") or by_place) is not None and _whole(_value(node.args[0]))


def _value(argument: Any) -> Any:
    return argument.meta.get("val") if hasattr(argument, "meta") else argument


def _boolean(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype == torch.bool)


def _whole(value: Any) -> bool:
    return isinstance(value, Tensor) and not (value.is_floating_point() or value.is_complex())


def _short(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.int32, torch.int16, torch.int8)
