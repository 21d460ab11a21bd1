"""A worker process, started by ``python -m`` and never forked from the training process: it can crash or hang.

The file is above 300 lines because starting the process, talking to it and ending it share its state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_onnx.errors import RuntimeUnavailable, WorkerEnded, WorkerError, WorkerReplaced
from lightning_onnx.runtimes.worker.channel import Channel
from lightning_onnx.runtimes.worker.waiting import Wait, ask_whether_to_go_on

log = logging.getLogger(__name__)

TIME_LIMIT = 600.0
"""Default time limit for one call, in seconds; a runtime that takes longer counts as hanging."""

SERVER = "lightning_onnx.runtimes.worker.server"
"""The main program of the process."""

_PACKAGES = Path(__file__).resolve().parents[3]
"""The directory that contains the package ``lightning_onnx``."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a call returned.

    Attributes:
        value: The value that the function returned.
        generation: The process that called it, counted from 1.
    """

    value: Any
    generation: int


class Posted:
    """A request that was sent ahead: its answer is read by ``Worker.collect``, or before the worker's next request.

    Args:
        request: Its number.
        generation: The process that has it.
        limit: Time limit in seconds.
    """

    def __init__(self, request: int, generation: int, limit: float) -> None:
        self.request = request
        self.generation = generation
        self.limit = limit
        self.outcome: tuple[bool, Any] | WorkerEnded | None = None


class Worker:
    """A process that executes one call at a time; started by the first call, and restarted if it has died.

    Attributes:
        generation: Counts the processes: the sessions of an earlier one are lost.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._pid = os.getpid()
        self._is_waiting = False
        self._longest_answer: float | None = None
        self._posted: Posted | None = None
        self._closing: list[int] = []
        self._numbers = itertools.count()
        self._requests = itertools.count()

    def call(self, target: str, *arguments: object) -> Any:
        """Call a function in the process, and return its value: ``ask`` with its defaults."""
        return self.ask(target, *arguments).value

    def ask(
        self, target: str, *arguments: object, time_limit: float | None = None, generation: int | None = None
    ) -> Answer:
        """Call a function in the process.

        An exception that ends the wait, such as ``KeyboardInterrupt``, ends the process too: its answer would be taken
        for that of the next call.

        Args:
            target: ``"module:function"``.
            arguments: Its arguments, which are pickled.
            time_limit: Time limit in seconds; default: ``TIME_LIMIT``.
            generation: The process that has to answer; None for any.

        Raises:
            WorkerError: If the function raises.
            WorkerEnded: If the process dies, gives no answer in time, or is another one than asked for.
            RuntimeUnavailable: If the function raises it.
        """
        with self._lock:
            self._make_ready(generation)
            limit = TIME_LIMIT if time_limit is None else time_limit
            return Answer(_value(*self._exchange(target, arguments, limit)), self.generation)

    def start(self, target: str, *arguments: object) -> None:
        """Start the process and let it call a function, such as one that imports a package, while the caller goes on.

        The answer is dropped, even an exception. Nothing happens if the process runs already, or cannot be started.

        Args:
            target: ``"module:function"``.
            arguments: Its arguments.
        """
        if not self._lock.acquire(blocking=False):  # another thread uses the process
            return
        try:
            if self._channel is None or self._pid != os.getpid():
                self._start()
                with self._waiting(TIME_LIMIT) as wait:
                    self._send(wait, target, arguments, TIME_LIMIT)
        except (OSError, WorkerEnded):
            log.debug("the worker process cannot be started ahead", exc_info=True)
        finally:
            self._lock.release()

    def post(
        self, target: str, *arguments: object, time_limit: float | None = None, generation: int | None = None
    ) -> Posted:
        """Send a request without waiting for its answer. Arguments as for ``ask``.

        At most one answer is outstanding, or the two processes could block each other with large messages.

        Raises:
            WorkerEnded: If the process is another one than asked for, or dies before it has read the request.
        """
        with self._lock:
            self._make_ready(generation)
            limit = TIME_LIMIT if time_limit is None else time_limit
            with self._waiting(limit) as wait:
                request = self._send(wait, target, arguments, limit)
            self._posted = Posted(request, self.generation, limit)
            return self._posted

    def collect(self, posted: Posted) -> Answer:
        """Wait for the answer of a request that was sent ahead.

        Args:
            posted: What ``post`` returned.

        Raises:
            WorkerReplaced: If the process was ended for another reason before it had answered.
            WorkerError: As for ``ask``, and so the other exceptions.
        """
        with self._lock:
            if posted is self._posted:
                self._finish_posted()
        if posted.outcome is None:
            raise WorkerReplaced("the worker process was ended before it had answered")
        if isinstance(posted.outcome, WorkerEnded):
            raise posted.outcome
        return Answer(_value(*posted.outcome), posted.generation)

    def new_number(self) -> int:
        """Return a number for a new session, unique in this worker."""
        return next(self._numbers)

    def close_later(self, generation: int, number: int) -> None:
        """Close a session with the next request: the garbage collector calls this method, which must not block."""
        if generation == self.generation:
            self._closing.append(number)

    def stop(self) -> None:
        """End the process; may be called again after an interrupted call."""
        if self._process is not None and self._pid == os.getpid():
            _end(self._process)
        self._forget()

    def _forget(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = self._process = None
        self._longest_answer = None  # the next process has to start first, and may get other work
        self._closing.clear()
        self._posted = None
        self._is_waiting = False

    def _make_ready(self, generation: int | None) -> None:
        """Start the process if needed, and let it finish what it was asked for before; it has to be the given one."""
        self._finish_posted()
        self._start()
        if generation is not None and generation != self.generation:
            raise WorkerReplaced("the worker process was replaced by another one")

    def _finish_posted(self) -> None:
        """Read the answer of the request that was sent ahead, if there is one."""
        posted = self._posted
        if posted is None or self._pid != os.getpid():
            return
        try:
            with self._waiting(posted.limit) as wait:
                posted.outcome = self._receive(wait, posted.request, time.monotonic() + posted.limit)
        except WorkerEnded as error:
            posted.outcome = error
        self._posted = None

    def _exchange(self, target: str, arguments: tuple[object, ...], limit: float) -> tuple[bool, Any]:
        """Send a request, and return the answer that has its number."""
        deadline = time.monotonic() + limit
        with self._waiting(limit) as wait:
            request = self._send(wait, target, arguments, limit)
            return self._receive(wait, request, deadline)

    def _send(self, wait: Wait, target: str, arguments: tuple[object, ...], limit: float) -> int:
        """Send a request, and what is to be closed before it: an answer of its own would be waited for."""
        assert self._channel is not None
        request, closing = next(self._requests), []
        while self._closing:  # which the garbage collector may fill meanwhile
            closing.append(self._closing.pop())
        message = (request, target, arguments, closing)
        self._channel.send(message, limit, functools.partial(ask_whether_to_go_on, wait))
        return request

    def _receive(self, wait: Wait, request: int, deadline: float) -> tuple[bool, Any]:
        assert self._channel is not None
        while_waiting = functools.partial(ask_whether_to_go_on, wait)
        answered = None
        while answered != request:
            answered, done, answer, seconds = self._channel.receive(deadline - time.monotonic(), while_waiting)
        # Of a request that was sent ahead, only the process knows how long it took.
        self._longest_answer = max(seconds, wait.seconds, self._longest_answer or 0.0)
        return done, answer

    @contextlib.contextmanager
    def _waiting(self, limit: float) -> Iterator[Wait]:
        """Yield a wait for the process; an exception that ends it ends the process, too.

        Args:
            limit: Time limit in seconds, for the message.

        Raises:
            WorkerEnded: If the process dies, or the time is over.
        """
        assert self._process is not None
        self._is_waiting = True
        try:
            yield Wait(self._process.pid, self._longest_answer)
        except TimeoutError as error:
            self.stop()
            raise WorkerEnded(f"no answer within {limit:g} s; the worker process was stopped") from error
        except (EOFError, OSError) as error:
            raise WorkerEnded(f"the worker process died{self._cause()}") from error
        except BaseException:
            self.stop()
            raise
        self._is_waiting = False

    def _cause(self) -> str:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        self.stop()
        if code is None:
            return ""
        return f" by {signal.Signals(-code).name}" if code < 0 else f" with exit code {code}"

    def _start(self) -> None:
        """Start the process unless it runs and waits for a request."""
        if self._pid != os.getpid():  # this process is a fork of the one that owns the worker
            self._forget()
            self._pid = os.getpid()
        if self._process is not None and (self._is_waiting or self._process.poll() is not None):
            self.stop()
        if self._channel is not None:
            return
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", SERVER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=_PACKAGES,  # "-m" looks there first, so that no onnx.py of the user is imported
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                start_new_session=True,  # Ctrl-C must only reach the training
            )
        self.generation += 1
        self._channel = Channel(ours)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and its converters, which are in its process group.

    ``Popen.wait`` would wait for a lock that an interrupt in ``Popen.poll`` can leave taken for ever.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.killpg(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
        process.returncode = -signal.SIGKILL


def _value(done: bool, value: Any) -> Any:
    """Return what a function returned, or raise what it raised."""
    if isinstance(value, RuntimeUnavailable):
        raise value
    if not done:
        raise WorkerError(value)
    return value
