"""Messages between the training process and a worker: pickled, each after its length, and every wait can end."""

from __future__ import annotations

import dataclasses
import pickle
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_SLICE = 0.2
"""Seconds between two calls of ``while_waiting``."""

_LENGTH = struct.Struct("!Q")

WhileWaiting = Callable[[], None]
"""Called five times a second during a wait; an exception that it raises ends the wait."""


class Channel:
    """One end of a connection.

    Args:
        connected: A connected socket, which the channel closes.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def send(self, message: object, limit: float | None = None, while_waiting: WhileWaiting | None = None) -> None:
        """Send a message.

        Args:
            message: Anything that can be pickled.
            limit: Time limit in seconds; None for no limit. The other side may read slowly, or not at all.
            while_waiting: May end the wait.

        Raises:
            TimeoutError: If the other side does not read all of it in time.
            OSError: If the other side has closed the connection.
        """
        waiting = self._start(limit, while_waiting)
        content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        for part in (_LENGTH.pack(len(content)), content):
            rest = memoryview(part)
            while rest:
                rest = rest[waiting.until(self._socket.send, rest) :]

    def receive(self, limit: float | None = None, while_waiting: WhileWaiting | None = None) -> Any:
        """Wait for a message.

        Args:
            limit: Time limit in seconds; None for no limit.
            while_waiting: May end the wait.

        Raises:
            TimeoutError: If it does not arrive in time.
            EOFError: If the other side has closed the connection.
            OSError: If the connection is broken.
        """
        waiting = self._start(limit, while_waiting)
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, waiting))
        return pickle.loads(self._read(length, waiting))

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _start(self, limit: float | None, while_waiting: WhileWaiting | None) -> _Waiting:
        is_bounded = limit is not None or while_waiting is not None
        self._socket.settimeout(_SLICE if is_bounded else None)
        return _Waiting(None if limit is None else time.monotonic() + limit, while_waiting)

    def _read(self, length: int, waiting: _Waiting) -> bytearray:
        content = bytearray(length)
        rest = memoryview(content)
        while rest:
            count = waiting.until(self._socket.recv_into, rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return content


@dataclasses.dataclass(frozen=True)
class _Waiting:
    """The waits of one message: the time at which they end, in seconds, and what may end them before."""

    deadline: float | None
    while_waiting: WhileWaiting | None

    def until(self, action: Callable[[memoryview], T], part: memoryview) -> T:
        """Return the result of an action on a socket whose time-out is one slice of the wait."""
        while True:
            try:
                return action(part)
            except TimeoutError:
                if self.while_waiting is not None:
                    self.while_waiting()
                if self.deadline is not None and time.monotonic() >= self.deadline:
                    raise
