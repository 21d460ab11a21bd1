"""Turns off ``torch.autocast`` inside the method while the module is called or traced for an export."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

_lock = threading.Lock()
_active = 0
_here = threading.local()
_SKIPPED = "entered_while_off"


@contextlib.contextmanager
def autocast_off() -> Iterator[None]:
    """Make entering ``torch.autocast`` do nothing in this thread; the reference computes in float32.

    A method may enter autocast itself, in a ``with`` block or through a decorator, and no outer context can turn that
    off. So the methods of the class are replaced; other threads still get the original ones.
    """
    devices = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    _install()
    depth = getattr(_here, "depth", 0)
    _here.depth = depth + 1
    for device in devices:
        torch.set_autocast_enabled(device, False)
    try:
        yield
    finally:
        for device in devices:
            torch.set_autocast_enabled(device, True)
        _here.depth = depth
        _remove()


def enter(context: Any) -> Any:
    """Take the place of ``torch.autocast.__enter__`` while ``autocast_off`` is in use in any thread."""
    if getattr(_here, "depth", 0):
        context.__dict__[_SKIPPED] = context.__dict__.get(_SKIPPED, 0) + 1
        return context
    return _original_enter(context)  # type: ignore[no-untyped-call]


def _exit(context: Any, *error: Any) -> Any:
    skipped = context.__dict__.get(_SKIPPED, 0)
    if skipped and getattr(_here, "depth", 0):
        context.__dict__[_SKIPPED] = skipped - 1
        return False
    return _original_exit(context, *error)


_original_enter = torch.autocast.__enter__
_original_exit = torch.autocast.__exit__


def _install() -> None:
    global _active
    with _lock:
        _active += 1
        if _active == 1:
            _set(enter, _exit)


def _remove() -> None:
    global _active
    with _lock:
        _active -= 1
        if _active == 0:
            _set(_original_enter, _original_exit)


def _set(entering: Any, leaving: Any) -> None:
    torch.autocast.__enter__, torch.autocast.__exit__ = entering, leaving  # type: ignore[method-assign]
