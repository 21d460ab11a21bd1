"""The data sets of loaders, through what other data sets put around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_DEPTH = 8


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
    yield from _inside(getattr(value, "dataset", None), depth - 1)
    for name in ("datasets", "loaders", "iterables"):
        for member in _members(getattr(value, name, None), depth):
            yield from _inside(member, depth - 1)


def _members(value: object, depth: int) -> Iterator[object]:
    """Yield what is in lists and dicts in each other."""
    if not isinstance(value, (list, tuple, Mapping)):
        yield value
    elif depth:
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _members(item, depth - 1)
