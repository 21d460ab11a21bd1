"""A step of a random module: lines of Python, with the kind of value that they take and return.

The value is called ``x``:

- ``rows``: floats ``[batch, 6]``
- ``integers``: int64 ``[batch, 6]``
- ``sequence``: floats ``[batch, length, 6]``; ``mask`` is bool ``[batch, length]`` and belongs to it
- ``steps``: the same where the length is no longer that of ``mask``
- ``image``: floats ``[batch, 4, height, width]``

Words in braces are filled in: ``{n}`` is the number of the step in its module, the others are chosen from ``CHOICES``.
"""

from __future__ import annotations

import dataclasses

ROWS, INTEGERS, SEQUENCE, STEPS, IMAGE = ("rows",), ("integers",), ("sequence",), ("steps",), ("image",)
SERIES = (*SEQUENCE, *STEPS)
VECTORS = (*ROWS, *SERIES)
FLOATS = (*VECTORS, *IMAGE)

CHOICES: dict[str, tuple[object, ...]] = {
    "tiny": (1e-12, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-3),
    "number": (0.25, 0.7, 1.5, 3.0, -0.6),
    "bound": (0.5, 2.0, 50.0),
    "small": (2, 3, 4),
    "size": (4, 8, 16),
    "table": (12, 24, 64),
    "flag": (True, False),
}
"""Choices for a word in braces; the same word in one step has the same choice."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing that a module does.

    Attributes:
        takes: Kinds of values that it takes.
        forward: Lines of ``forward``.
        init: Lines of ``__init__``.
        gives: Kind of the value afterwards; None: the kind that it took.
        uses_mask: Whether it reads ``mask``.
        decides: Whether values decide what it does, in a way that a graph does not follow.
    """

    takes: tuple[str, ...]
    forward: str
    init: str = ""
    gives: str | None = None
    uses_mask: bool = False
    decides: bool = False
