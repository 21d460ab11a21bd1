"""Flattens nested arguments and results to a list of tensors, and rebuilds them.

ONNX graphs take and return flat lists of named tensors; modules take and return dicts, dataclasses, lists of tensors
and flags. A ``Structure`` is a nested value in which each tensor is replaced by its index in the flat list.
``torch.utils._pytree`` does part of this, but it is private and handles neither unregistered dataclasses nor objects of
other libraries (a graph network's ``Data``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform

from lightning_onnx.module.calls.containers import Unfilled, mapping, sequence, stored, with_attributes
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
    the same classes; one that refuses slots is ``Unfilled`` as long as it holds any. An object that contains itself is
    a leaf at its second occurrence. With ``opaque``, plain objects are leaves and distributions become ``Parts``.
    ``Parts`` in the value become distributions again.
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
    if isinstance(value, Unfilled):
        return _made(value.make, value.like, {key: inner(item, str(key)) for key, item in value.items.items()})
    if isinstance(value, Mapping):
        return _made(mapping, value, {key: inner(item, str(key)) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        names = getattr(value, "_fields", range(len(value)))
        return _made(sequence, value, {n: inner(item, str(n)) for n, item in zip(names, value, strict=True)})
    is_data = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if is_data or (not opaque and _holds(value, (Tensor, Slot))):
        below = ((a.name, () if a.shown is None else (a.shown,), a.value) for a in stored(value))
        return _made(with_attributes, value, {name: inner(item, *path) for name, path, item in below})
    return leaf(path, value)


def _made(make: Callable[[Any, dict[Any, object]], object], like: object, items: dict[Any, object]) -> object:
    """Make a container; one that does not take slots waits for tensors."""
    try:
        made = make(like, items)
    except Exception:
        if not _holds(items, (Slot,), depth=10):
            raise
        return Unfilled(like, items, make)
    is_other = type(made) is not type(like)
    return Unfilled(like, items, make) if is_other and _holds(items, (Slot,), depth=10) else made


def _holds(value: object, kinds: tuple[type, ...], depth: int = 3) -> bool:
    """Tell whether a container or a plain object keeps values of some classes, directly or a few levels below."""
    if isinstance(value, kinds):
        return True
    if depth == 0 or isinstance(value, (type, torch.nn.Module, FunctionType, MethodType, Tensor)):
        return False
    items: Iterable[object]
    if isinstance(value, Mapping):
        items = value.values()
    elif isinstance(value, (list, tuple)):
        items = value
    else:
        items = (attribute.value for attribute in stored(value))
    return any(_holds(item, kinds, depth - 1) for item in items)
