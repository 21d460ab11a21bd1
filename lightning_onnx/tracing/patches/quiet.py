"""What torch's exporters print, and how it is kept from being printed."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from lightning_onnx.tracing.patches.patch import Patch


class Nowhere(io.TextIOBase):
    """A text file that drops what is written to it."""

    def write(self, text: str, /) -> int:
        """Return the number of characters, as a file does."""
        return len(text)


@contextlib.contextmanager
def at_level(patch: Patch) -> Iterator[None]:
    """Give a logger another level."""
    logger = logging.getLogger(patch.owner)
    level = logger.level
    logger.setLevel(str(patch.replacement))
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def without_warnings(patch: Patch) -> Iterator[None]:
    """Ignore all warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def do_nothing(*args: object, **kwargs: object) -> None:
    """Take the place of a function that prints or complains."""
