"""The data sets of loaders, through what other data sets put around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_DEPTH = 8


def attribute_of(owner: Any, name: str) -> Any:
    """Return an attribute of one of the user's objects, or an entry of a dict; None without it, or if it raises.

    Args:
        owner: The object.
        name: Name of the attribute.
    """
    try:
        return owner.get(name) if isinstance(owner, Mapping) else getattr(owner, name, None)
    except Exception:  # a property that needs something which is not set up
        return None


def data_sets(loaders: object) -> Iterator[object]:
    """Yield the data sets of loaders, each followed by those inside it (``Subset``, ``ConcatDataset`` and such).

    Args:
        loaders: As in ``Trainer.validate``: a loader, several in a list or dict, a data set, or None.
    """
    for loader in _members(loaders, _DEPTH):
        yield from _inside(loader, _DEPTH)


def _inside(value: object, depth: int) -> Iterator[object]:
    if value is None or depth == 0 or isinstance(value, (list, tuple, Mapping)):  # a list in `dataset` has samples
        return
    yield value
    yield from _inside(attribute_of(value, "dataset"), depth - 1)
    for name in ("datasets", "loaders", "iterables"):
        for member in _members(attribute_of(value, name), depth):
            yield from _inside(member, depth - 1)


def _members(value: object, depth: int) -> Iterator[object]:
    """Yield what is in lists and dicts in each other."""
    if not isinstance(value, (list, tuple, Mapping)):
        yield value
    elif depth:
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _members(item, depth - 1)
