"""Runtimes in a process of their own: one that crashes or hangs costs a check, not the training.

The process is started by ``python -m`` and kept for the run; it is never forked from the one that trains.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import ONNXExportError
from lightning_onnx.runtimes.base import Arrays

TIME_LIMIT = 600.0
"""For one call, in seconds; a runtime that takes longer counts as hanging."""

_HOST = "lightning_onnx.runtimes.host"
_PACKAGES = Path(__file__).resolve().parents[2]


class WorkerError(ONNXExportError):
    """A worker process raised, died, or gave no answer in time."""


class Worker:
    """A process that answers calls one after the other; started by the first call, and again after it died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._closing: list[int] = []
        self._numbers = itertools.count()
        self.generation = 0

    def call(self, target: str, *arguments: Any, time_limit: float | None = None) -> Any:
        """Call a function in the process.

        Args:
            target: ``"module:function"``.
            arguments: What it gets; pickled.
            time_limit: In seconds; default: :data:`TIME_LIMIT`.

        Raises:
            WorkerError: If the function raises, the process dies, or there is no answer in time.
        """
        with self._lock:
            connection = self._started()
            while self._closing:
                self._ask(connection, f"{_HOST}:close", (self._closing.pop(),), 60)
            done, answer = self._ask(connection, target, arguments, TIME_LIMIT if time_limit is None else time_limit)
        if not done:
            raise WorkerError(answer)
        return answer

    def new_number(self) -> int:
        """Return a number for a session that no other has."""
        return next(self._numbers)

    def close_later(self, generation: int, number: int) -> None:
        """Forget a session at the next call; it may be asked for by the garbage collector, which must not wait."""
        if generation == self.generation:
            self._closing.append(number)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None and self._pid == os.getpid():
            self._process.kill()
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None
        self._closing.clear()

    def _ask(self, connection: Connection, target: str, arguments: tuple[Any, ...], limit: float) -> tuple[bool, Any]:
        try:
            connection.send((target, arguments))
            if not connection.poll(limit):
                self.stop()
                raise WorkerError(f"no answer within {limit:g} s; the worker process was ended")
            answer: tuple[bool, Any] = connection.recv()
            return answer
        except (EOFError, OSError) as error:
            raise WorkerError(f"the worker process died{self._cause()}") from error

    def _cause(self) -> str:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        self.stop()
        if code is None:
            return ""
        return f" by {signal.Signals(-code).name}" if code < 0 else f" with exit code {code}"

    def _started(self) -> Connection:
        if self._pid != os.getpid():  # a fork of the process that owns the worker; that one keeps it
            self._process = self._connection = None
            self._pid = os.getpid()
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        if self._connection is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", _HOST, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=_PACKAGES,  # "-m" looks there first; a file onnx.py in the user's directory is not to be found
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                    start_new_session=True,  # Ctrl-C is for the training
                )
            self._connection = Connection(ours.detach())
            self.generation += 1
        return self._connection


_worker = Worker()
atexit.register(_worker.stop)


class HostedRuntime:
    """A runtime in the worker process.

    Args:
        name: Its name, for people.
        target: Its class, as ``"module:class"``.
        options: What the class is called with.
    """

    def __init__(self, name: str, target: str, **options: Any) -> None:
        self.name = name
        self._target = target
        self._options = options

    def version(self) -> str:
        """Return the version of the installed package."""
        return str(_worker.call(f"{_HOST}:version", self._target))

    def load(self, model_path: Path) -> HostedSession:
        """Load an ONNX file."""
        number = _worker.new_number()
        _worker.call(f"{_HOST}:load", number, self._target, str(model_path.resolve()), self._options)
        return HostedSession(number)


class HostedSession:
    """A session in the worker process, forgotten there when it is collected here."""

    def __init__(self, number: int) -> None:
        self._number = number
        weakref.finalize(self, _worker.close_later, _worker.generation, number)

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model; returns its outputs by name, in the graph's order."""
        outputs: Arrays = _worker.call(f"{_HOST}:run", self._number, dict(inputs))
        return outputs
