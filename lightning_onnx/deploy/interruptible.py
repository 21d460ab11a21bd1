"""Ctrl-C ends an upload of huggingface_hub, which by itself waits until its threads have tried six times."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

_STEP = 0.5
"""Seconds of one wait: a signal that another thread receives is seen only between two of them."""

_LONGEST = 10.0
"""Seconds until the threads are left alone: they wait up to 8 seconds before they try again."""


def interruptible(upload: Callable[[], T]) -> T:
    """Run an upload in a thread of its own; if the wait for it is interrupted, end it.

    Args:
        upload: What to run.

    Returns:
        What it returns.
    """
    outcome: Future[T] = Future()
    thread = threading.Thread(target=_run, args=(upload, outcome), daemon=True)
    thread.start()
    try:
        while not wait([outcome], _STEP).done:  # not by joining: a thread whose join is interrupted counts as ended
            pass
        return outcome.result()
    finally:
        if not outcome.done():
            _end(thread)


def _run(upload: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(upload())
    except BaseException as error:  # raised again where it is waited for
        outcome.set_exception(error)


def _end(thread: threading.Thread) -> None:
    """Close the connections, and refuse every further request until the thread has ended.

    The client that all threads share may be replaced by a new one between two tries.
    """
    from huggingface_hub import close_session, get_session

    with contextlib.suppress(Exception):  # of a connection that is in use
        close_session()
    until = time.monotonic() + _LONGEST
    while thread.is_alive() and time.monotonic() < until:
        vars(get_session())["request"] = _refuse
        thread.join(0.1)
    with contextlib.suppress(Exception):
        close_session()  # the next one answers again


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("the upload was interrupted")  # not among the errors after which another try is made
