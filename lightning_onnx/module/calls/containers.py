"""Makes containers of the same class with other content, without running the checks of the class where possible."""

from __future__ import annotations

import copy
import dataclasses
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lightning_onnx.module.slots import slots_of


@dataclasses.dataclass(frozen=True)
class Stored:
    """An attribute of an object as it is stored, which may have another name than the one it is read by.

    Attributes:
        name: The name in the object's ``__dict__``, or of its slot.
        shown: The name for paths; None for a private one.
        value: The value.
    """

    name: str
    shown: str | None
    value: object


@dataclasses.dataclass(frozen=True)
class Unfilled:
    """Stands for a container that takes only tensors, until there are tensors.

    Attributes:
        like: The container that it was.
        items: Its content by keys, names or indices, with stand-ins for tensors.
        make: Makes the container from ``like`` and other ``items``.
    """

    like: object
    items: Mapping[Any, object]
    make: Callable[[Any, dict[Any, object]], object]


def stored(value: object) -> Iterator[Stored]:
    """Yield the attributes of an object, as stored; of a dataclass, only its fields.

    A field may be a descriptor that checks what is set, and keeps it under a private name.
    """
    kept = {**getattr(value, "__dict__", {})}
    kept |= {name: getattr(value, name) for name in slots_of(type(value)) if hasattr(value, name)}
    if not dataclasses.is_dataclass(value):
        for name, item in kept.items():
            yield Stored(name, None if name.startswith("_") else name, item)
        return
    for field in dataclasses.fields(value):
        name = field.name if field.name in kept else f"_{field.name}"
        yield Stored(name if name in kept else field.name, field.name, kept.get(name, getattr(value, field.name, None)))


def with_attributes(like: object, attributes: dict[Any, object]) -> object:
    """Return an object of the same class; what it checks when an attribute is set does not run.

    Args:
        like: The object; what it keeps besides ``attributes`` is shared.
        attributes: By the names of ``stored``.
    """
    try:
        made = copy.copy(like)
    except Exception:  # such as a class without ``__dict__`` whose attributes cannot be set
        made = object.__new__(type(like))
    slots = set(slots_of(type(like)))
    for name, item in attributes.items():
        if name not in slots and name in getattr(made, "__dict__", {}):
            made.__dict__[name] = item
        else:
            object.__setattr__(made, name, item)
    return made


def mapping(like: Mapping[Any, Any], items: dict[Any, object]) -> object:
    """Return a mapping of the same class; what a shallow copy shares with the original stays unchanged."""
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


def sequence(like: Any, items: dict[Any, object]) -> object:
    """Return a list or tuple of the same class; a plain list if the class takes no list of items.

    Args:
        like: The list or tuple.
        items: By index, in order.
    """
    values = list(items.values())
    if hasattr(like, "_fields"):  # PackedSequence checks its arguments
        return tuple.__new__(type(like), values)
    try:
        return type(like)(values)
    except TypeError:
        return values
