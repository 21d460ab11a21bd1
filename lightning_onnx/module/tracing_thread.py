"""Which thread traces: one at a time, and the only one that sees what is replaced meanwhile."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_lock = threading.RLock()
_ident: int | None = None


@contextlib.contextmanager
def tracing_thread() -> Iterator[None]:
    """Make this thread the tracing one in the block; another thread that wants that waits until the block has ended."""
    global _ident
    with _lock:
        before, _ident = _ident, threading.get_ident()
        try:
            yield
        finally:
            _ident = before


def is_tracing_thread() -> bool:
    """Return whether the calling thread is the one that traces."""
    return threading.get_ident() == _ident


def in_tracing_thread(original: Callable[..., Any], replacement: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls the replacement in the tracing thread, and the original in any other.

    Strict captures read its bytecode: whether this is the tracing thread is a constant for them.
    """
    _make_constant()

    def function(*args: object, **kwargs: object) -> object:
        return replacement(*args, **kwargs) if is_tracing_thread() else original(*args, **kwargs)

    return functools.wraps(original)(function)


@functools.cache
def _make_constant() -> None:
    import torch  # this also imports torch's compiler, which takes a second

    torch.compiler.assume_constant_result(is_tracing_thread)  # type: ignore[no-untyped-call]


class ValueInTracingThread:
    """An attribute of a class with one value in the tracing thread, and another one in any other.

    Args:
        here: The value in the tracing thread.
        elsewhere: The other value.
    """

    def __init__(self, here: object, elsewhere: object) -> None:
        self.here = here
        self.elsewhere = elsewhere

    def __get__(self, instance: object, owner: type | None = None) -> object:
        """Return the value for the calling thread; an attribute of the instance takes precedence."""
        return self.here if is_tracing_thread() else self.elsewhere


class _Matcher:
    """Takes the place of a regular expression in Python's list of filters; matches in the tracing thread only."""

    def __init__(self) -> None:
        self.listener: Callable[[str, FrameType], None] | None = None

    def match(self, text: str) -> bool:
        """Return whether to ignore a warning."""
        if not is_tracing_thread():
            return False
        if self.listener is not None:
            self.listener(text, sys._getframe(1))
        return True


_matcher = _Matcher()
_FILTER: Any = ("ignore", _matcher, Warning, None, 0)


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore all warnings of this thread, which becomes the tracing one.

    ``warnings.catch_warnings`` would replace the filters of all threads.
    """
    with tracing_thread():
        is_first = _FILTER not in warnings.filters
        if is_first:
            warnings.filters.insert(0, _FILTER)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            if is_first:
                while _FILTER in warnings.filters:
                    warnings.filters.remove(_FILTER)  # type: ignore[attr-defined]


class _Errors(logging.Filter):
    """Lets only errors of the tracing thread through; other threads are not concerned."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        return record.levelno >= logging.ERROR or not is_tracing_thread()


@contextlib.contextmanager
def only_errors(name: str) -> Iterator[None]:
    """Log only errors of this thread, which becomes the tracing one; the level of a logger would hold for all threads.

    Args:
        name: Name of a logger; those below it are included.
    """
    known = list(logging.Logger.manager.loggerDict.items())
    below = [logger for path, logger in known if path.startswith(f"{name}.") and isinstance(logger, logging.Logger)]
    loggers, errors = [logging.getLogger(name), *below], _Errors()
    with tracing_thread():
        for logger in loggers:
            logger.addFilter(errors)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(errors)


@contextlib.contextmanager
def hearing_warnings(listener: Callable[[str, FrameType], None]) -> Iterator[None]:
    """Pass the warnings that ``without_warnings`` ignores to a listener.

    Args:
        listener: Called with the text, and with the frame of Python that was running.
    """
    before, _matcher.listener = _matcher.listener, listener
    try:
        yield
    finally:
        _matcher.listener = before
