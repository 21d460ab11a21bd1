"""A worker process, started by ``python -m`` and never forked from the training process: it can crash or hang."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from lightning_onnx.errors import RuntimeUnavailable, WorkerEnded, WorkerError, WorkerReplaced
from lightning_onnx.runtimes.worker.channel import Channel
from lightning_onnx.runtimes.worker.waiting import Wait, ask_whether_to_go_on

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
            self._start()
            if generation is not None and generation != self.generation:
                raise WorkerReplaced("the worker process was replaced by another one")
            while self._closing:
                self._exchange(f"{SERVER}:close", (self._closing.pop(),), 60)
            done, value = self._exchange(target, arguments, TIME_LIMIT if time_limit is None else time_limit)
            answer = Answer(value, self.generation)
        if isinstance(value, RuntimeUnavailable):
            raise value
        if not done:
            raise WorkerError(value)
        return answer

    def new_number(self) -> int:
        """Return a number for a new session, unique in this worker."""
        return next(self._numbers)

    def close_later(self, generation: int, number: int) -> None:
        """Close a session at the next call: the garbage collector calls this method, which must not block."""
        if generation == self.generation:
            self._closing.append(number)

    def stop(self) -> None:
        """End the process; may be called again after an interrupted call."""
        if self._process is not None and self._pid == os.getpid():
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)  # the process group, to end its converters too
            self._process.wait()
        self._forget()

    def _forget(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = self._process = None
        self._longest_answer = None  # the next process has to start first, and may get other work
        self._closing.clear()
        self._is_waiting = False

    def _exchange(self, target: str, arguments: tuple[object, ...], limit: float) -> tuple[bool, Any]:
        """Send a request, and return the answer that has its number."""
        assert self._channel is not None
        assert self._process is not None
        request, deadline = next(self._requests), time.monotonic() + limit
        wait = Wait(self._process.pid, self._longest_answer)
        while_waiting = functools.partial(ask_whether_to_go_on, wait)
        self._is_waiting = True
        try:
            self._channel.send((request, target, arguments), limit, while_waiting)
            answered = None
            while answered != request:
                answered, done, answer = self._channel.receive(deadline - time.monotonic(), while_waiting)
        except TimeoutError as error:
            self.stop()
            raise WorkerEnded(f"no answer within {limit:g} s; the worker process was stopped") from error
        except (EOFError, OSError) as error:
            raise WorkerEnded(f"the worker process died{self._cause()}") from error
        except BaseException:
            self.stop()
            raise
        self._is_waiting = False
        self._longest_answer = max(wait.seconds, self._longest_answer or 0.0)
        return done, answer

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
