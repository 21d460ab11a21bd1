"""The attributes of objects whose classes have ``__slots__``."""

from __future__ import annotations

from collections.abc import Iterator


def slots_of(kind: type) -> Iterator[str]:
    """Yield the names of the slots of a class and its bases."""
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                yield f"_{base.__name__.lstrip('_')}{name}" if name.startswith("__") else name
