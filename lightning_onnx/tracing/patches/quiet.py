"""What torch's exporters print, and how it is kept from being printed."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from lightning_onnx.tracing.patches.patch import Patch

LOGGERS = (
    "torch.onnx",
    "onnxscript",
    "onnx_ir",
    "torch.export",
    "torch._export",
    "torch.fx.experimental.symbolic_shapes",
)
"""Loggers that warn of what an export meets on its way."""


class Nowhere(io.TextIOBase):
    """A text file that drops what is written to it."""

    def write(self, text: str, /) -> int:
        """Return the number of characters, as a file does."""
        return len(text)


@contextlib.contextmanager
def errors_only(patch: Patch) -> Iterator[None]:
    """Let the loggers pass only errors."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def without_warnings(patch: Patch) -> Iterator[None]:
    """Ignore all warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def do_nothing(*args: object, **kwargs: object) -> None:
    """Take the place of a function that prints or complains."""
