"""The data sets of loaders, through what other data sets put around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_DEPTH = 8


def data_sets(loaders: object) -> Iterator[object]:
    """Yield the data sets of loaders, each followed by those inside it (``Subset``, ``ConcatDataset`` and such).

    Args:
        loaders: As in ``Trainer.validate``: a loader, several in a list or dict, a data set, or None.
    """
    yield from _inside(loaders, _DEPTH)


def _inside(value: object, depth: int) -> Iterator[object]:
    if value is None or depth == 0:
        return
    if isinstance(value, (list, tuple, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _inside(item, depth - 1)
        return
    yield value
    for name in ("dataset", "datasets", "loaders", "iterables"):
        yield from _inside(getattr(value, name, None), depth - 1)
