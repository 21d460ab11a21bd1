"""Messages between the training process and a worker: pickled, each after its length, and every wait can end."""

from __future__ import annotations

import contextlib
import pickle
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_SLICE = 0.2
"""Seconds of a wait after which it is asked again whether to go on."""

_LENGTH = struct.Struct("!Q")

_interrupt: ContextVar[Callable[[float], None] | None] = ContextVar("_interrupt", default=None)


@contextlib.contextmanager
def interruptible(interrupt: Callable[[float], None]) -> Iterator[None]:
    """Let a function end all waits for a worker in this block and this thread.

    Args:
        interrupt: Called five times a second during a wait, with its length so far, in seconds; an exception that it
            raises ends the wait.
    """
    token = _interrupt.set(interrupt)
    try:
        yield
    finally:
        _interrupt.reset(token)


class Channel:
    """One end of a connection.

    Args:
        connected: A connected socket, which the channel closes.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def send(self, message: object, limit: float | None = None) -> None:
        """Send a message.

        Args:
            message: Anything that can be pickled.
            limit: Time limit in seconds; None for no limit. The other side may read slowly, or not at all.

        Raises:
            TimeoutError: If the other side does not read all of it in time.
            OSError: If the other side has closed the connection.
        """
        deadline = self._start(limit)
        content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        for part in (_LENGTH.pack(len(content)), content):
            rest = memoryview(part)
            while rest:
                rest = rest[self._waiting(deadline, self._socket.send, rest) :]

    def receive(self, limit: float | None = None) -> Any:
        """Wait for a message.

        Args:
            limit: Time limit in seconds; None for no limit.

        Raises:
            TimeoutError: If it does not arrive in time.
            EOFError: If the other side has closed the connection.
            OSError: If the connection is broken.
        """
        deadline = self._start(limit)
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline))
        return pickle.loads(self._read(length, deadline))

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _start(self, limit: float | None) -> float | None:
        """Return the time at which the waits of one message end, in seconds."""
        is_bounded = limit is not None or _interrupt.get() is not None
        self._socket.settimeout(_SLICE if is_bounded else None)
        return None if limit is None else time.monotonic() + limit

    def _read(self, length: int, deadline: float | None) -> bytearray:
        content = bytearray(length)
        rest = memoryview(content)
        while rest:
            count = self._waiting(deadline, self._socket.recv_into, rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return content

    @staticmethod
    def _waiting(deadline: float | None, action: Callable[[memoryview], T], part: memoryview) -> T:
        started = time.monotonic()
        while True:
            try:
                return action(part)
            except TimeoutError:
                interrupt = _interrupt.get()
                if interrupt is not None:
                    interrupt(time.monotonic() - started)
                if deadline is not None and time.monotonic() >= deadline:
                    raise
