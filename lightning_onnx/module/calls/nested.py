"""Flattens nested arguments and results to a list of tensors, and rebuilds them.

ONNX graphs take and return flat lists of named tensors; modules take and return dicts, dataclasses, lists of tensors
and flags. A ``Structure`` is a nested value in which each tensor is replaced by its index in the flat list.
``torch.utils._pytree`` does part of this, but it is private and handles neither unregistered dataclasses nor objects of
other libraries (a graph network's ``Data``).
"""

from __future__ import annotations

import copy
import dataclasses
from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform

from lightning_onnx.module.calls.distributions import Parts, take_apart

TensorPath = tuple[str, ...]
"""The keys, field names and indices from the outermost container to a leaf."""


@dataclasses.dataclass(frozen=True)
class Slot:
    """Stands for a tensor, by its index in the flat list."""

    index: int


@dataclasses.dataclass(frozen=True)
class Structure:
    """A nested value without its tensors.

    Attributes:
        skeleton: The value, each tensor replaced by a ``Slot``; flags, numbers and strings stay.
        paths: The path of each tensor, in flat order.
        others: All other leaves, each with its path.
    """

    skeleton: Any
    paths: tuple[TensorPath, ...]
    others: tuple[tuple[TensorPath, object], ...] = dataclasses.field(default=(), compare=False, repr=False)

    def fill(self, tensors: Sequence[object]) -> Any:
        """Return a new nested value with ``tensors`` (in flat order) in place of the slots."""
        return rebuild(self.skeleton, lambda path, leaf: tensors[leaf.index] if isinstance(leaf, Slot) else leaf)


def flatten_result(result: object) -> tuple[Structure, list[Tensor]]:
    """Take the tensors out of a method's result.

    Plain objects (such as a cache among the results) are opened only if there are no tensors outside of them.
    """
    structure, tensors = flatten(result, opaque=True)
    return (structure, tensors) if tensors else flatten(result)


def flatten(value: object, *, opaque: bool = False) -> tuple[Structure, list[Tensor]]:
    """Take the tensors out of a nested value.

    Args:
        value: The nested value.
        opaque: Whether to treat plain objects of other libraries as leaves, and take distributions apart.

    Example:
        >>> structure, tensors = flatten({"ids": torch.zeros(2, 3), "scale": 2.0})
        >>> structure.paths, len(tensors)
        ((('ids',),), 1)
    """
    tensors: list[Tensor] = []
    paths: list[TensorPath] = []
    others: list[tuple[TensorPath, object]] = []

    def take(path: TensorPath, leaf: object) -> object:
        if not isinstance(leaf, Tensor):
            others.append((path, leaf))
            return leaf
        tensors.append(leaf)
        paths.append(path)
        return Slot(len(tensors) - 1)

    skeleton = rebuild(value, take, opaque=opaque)
    return Structure(skeleton, tuple(paths), tuple(others)), tensors


def rebuild(value: object, leaf: Callable[[TensorPath, Any], object], *, opaque: bool = False) -> Any:
    """Copy a nested value with ``leaf(path, value)`` in place of everything that is not a container.

    Containers are mappings, lists, tuples, named tuples, dataclasses (such as Hugging Face's ``ModelOutput``), and
    objects with tensors among their attributes or a few levels below (``torch_geometric.data.Data``). The copies have
    the same classes. An object that contains itself is a leaf at its second occurrence. With ``opaque``, plain objects
    are leaves and distributions become ``Parts``. ``Parts`` in the value become distributions again.
    """
    return _rebuild(value, leaf, (), opaque, ())


def _rebuild(
    value: object, leaf: Callable[[TensorPath, Any], object], path: TensorPath, opaque: bool, outer: tuple[int, ...]
) -> object:
    if isinstance(value, (Tensor, Slot, str, bytes, int, float, complex, bool, type(None), torch.nn.Module)):
        return leaf(path, value)
    if id(value) in outer:
        return leaf(path, value)
    around = (*outer, id(value))

    def inner(item: object, *below: str) -> object:
        return _rebuild(item, leaf, (*path, *below), opaque, around)

    if isinstance(value, Parts):
        return value.put_together({name: inner(part, name) for name, part in value.parts.items()})
    if opaque and isinstance(value, (Distribution, Transform)):
        apart = take_apart(value)
        if apart is None:
            return leaf(path, value)
        return Parts(value, {name: inner(part, name) for name, part in apart.parts.items()})
    if isinstance(value, Mapping):
        return _mapping(value, {k: inner(v, str(k)) for k, v in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # PackedSequence checks its arguments
        return tuple.__new__(type(value), [inner(v, k) for k, v in zip(value._fields, value, strict=True)])
    if isinstance(value, (list, tuple)):
        items = [inner(v, str(i)) for i, v in enumerate(value)]
        return items if type(value) is list else tuple(items) if type(value) is tuple else _sequence(value, items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return _with_attributes(value, {name: inner(getattr(value, name), name) for name in names})
    if not opaque and _holds_tensors(value):
        below = {k: () if k.startswith("_") else (k,) for k in vars(value)}  # the path skips private ones
        return _with_attributes(value, {k: inner(v, *below[k]) for k, v in vars(value).items()})
    return leaf(path, value)


def _holds_tensors(value: object, depth: int = 3) -> bool:
    """Tell whether a plain object keeps tensors in its attributes, directly or a few levels below."""
    if isinstance(value, (Tensor, Slot)):
        return True
    if depth == 0 or isinstance(value, (type, torch.nn.Module, FunctionType, MethodType)):
        return False
    if isinstance(value, Mapping):
        return any(_holds_tensors(v, depth - 1) for v in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_tensors(v, depth - 1) for v in value)
    return any(_holds_tensors(v, depth - 1) for v in getattr(value, "__dict__", {}).values())


def _mapping(like: Mapping[Any, Any], items: dict[Any, Any]) -> object:
    """Make a mapping of the same class; what a shallow copy shares with the original stays unchanged."""
    if type(like) is dict:
        return items
    if isinstance(like, (dict, UserDict)) or hasattr(like, "__copy__"):
        copied: Any = copy.copy(like)
        for key, item in items.items():
            copied[key] = item
        return copied
    try:
        return type(like)(items)  # type: ignore[call-arg]
    except TypeError:
        return items


def _sequence(like: Any, items: list[object]) -> object:
    try:
        return type(like)(items)
    except TypeError:
        return items


def _with_attributes(like: object, attributes: dict[str, object]) -> object:
    copied = copy.copy(like)
    for name, item in attributes.items():
        object.__setattr__(copied, name, item)
    return copied
