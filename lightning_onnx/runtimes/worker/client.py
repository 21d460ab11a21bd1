"""Runtimes in worker processes: one that crashes or hangs fails a check, but not the training.

A worker is started by ``python -m``, and never forked from the training process. The default runtime has one worker for
the whole run; any other worker ends with its ``HostedRuntime`` and its sessions.
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

from lightning_onnx.errors import RuntimeUnavailable, WorkerError
from lightning_onnx.runtimes.base import DEFAULT, RUNTIMES, Arrays, Description, check_name

TIME_LIMIT = 600.0
"""Default time limit for one call, in seconds; a runtime that takes longer counts as hanging."""

_SERVER = "lightning_onnx.runtimes.worker.server"

_PACKAGES = Path(__file__).resolve().parents[3]
"""The directory that contains the package ``lightning_onnx``."""


class Worker:
    """A process that executes one call at a time; started by the first call, and restarted if it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._closing: list[int] = []
        self._numbers = itertools.count()
        self.generation = 0

    def call(self, target: str, *arguments: object, time_limit: float | None = None) -> Any:
        """Call a function in the process.

        Args:
            target: ``"module:function"``.
            arguments: Its arguments, which are pickled.
            time_limit: Time limit in seconds; default: ``TIME_LIMIT``.

        Raises:
            WorkerError: If the function raises, the process dies, or there is no answer in time.
            RuntimeUnavailable: If the function raises it.
        """
        with self._lock:
            connection = self._started()
            while self._closing:
                self._ask(connection, f"{_SERVER}:close", (self._closing.pop(),), 60)
            done, answer = self._ask(connection, target, arguments, TIME_LIMIT if time_limit is None else time_limit)
        if isinstance(answer, RuntimeUnavailable):
            raise answer
        if not done:
            raise WorkerError(answer)
        return answer

    def new_number(self) -> int:
        """Return a number for a new session, unique in this worker."""
        return next(self._numbers)

    def close_later(self, generation: int, number: int) -> None:
        """Close a session at the next call: the garbage collector calls this method, which must not block."""
        if generation == self.generation:
            self._closing.append(number)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None and self._pid == os.getpid():
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)  # the process group, to end its converters too
            self._process.wait()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None
        self._closing.clear()

    def _ask(
        self, connection: Connection, target: str, arguments: tuple[object, ...], limit: float
    ) -> tuple[bool, Any]:
        try:
            connection.send((target, arguments))
            if not connection.poll(limit):
                self.stop()
                raise WorkerError(f"no answer within {limit:g} s; the worker process was stopped")
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
        if self._pid != os.getpid():  # this process is a fork of the one that owns the worker
            self._process = self._connection = None
            self._pid = os.getpid()
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        if self._connection is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", _SERVER, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=_PACKAGES,  # "-m" looks there first, so that no onnx.py of the user is imported
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                    start_new_session=True,  # Ctrl-C must only reach the training
                )
            self._connection = Connection(ours.detach())
            self.generation += 1
        return self._connection


_worker = Worker()
atexit.register(_worker.stop)


class HostedRuntime:
    """A runtime in a worker process.

    Args:
        name: Name of the runtime, for reports.
        target: Class of the runtime, as ``"module:class"``.
        own_process: Whether it has its own worker instead of the shared one.
        time_limit: Time limit of one call in seconds; default: ``TIME_LIMIT``.
        options: Arguments of the class.
    """

    def __init__(
        self, name: str, target: str, *, own_process: bool = False, time_limit: float | None = None, **options: object
    ) -> None:
        self.name = name
        self._target = target
        self._worker = Worker() if own_process else _worker
        self._time_limit = time_limit
        self._options = options
        self._own_process = own_process
        if own_process:
            weakref.finalize(self, self._worker.stop)

    def close(self) -> None:
        """Stop the worker unless it is the shared one; another call would restart it."""
        if self._own_process:
            self._worker.stop()

    def version(self) -> str:
        """Return the version of the installed package.

        Raises:
            RuntimeUnavailable: If the package is not installed.
        """
        return str(self.call("version", self._target, self._options))

    def load(self, model_path: Path) -> HostedSession:
        """Load an ONNX file.

        Raises:
            RuntimeUnavailable: If the package or the device is missing.
            WorkerError: If the runtime cannot load the file, crashes or takes too long.
        """
        number = self._worker.new_number()
        seconds = self.call("load", number, self._target, str(model_path.resolve()), self._options)
        return HostedSession(self, self._worker, number, seconds)

    def call(self, function: str, *arguments: object) -> Any:
        """Call a function of ``lightning_onnx.runtimes.worker.server`` in the worker."""
        return self.call_function(f"{_SERVER}:{function}", *arguments)

    def call_function(self, target: str, *arguments: object) -> Any:
        """Call any function, given as ``"module:function"``, in the worker."""
        return self._worker.call(target, *arguments, time_limit=self._time_limit)


class HostedSession:
    """A session in a worker, which is closed there when this object is garbage-collected.

    Attributes:
        load_seconds: How long the runtime took to load the file, in seconds.
    """

    def __init__(self, runtime: HostedRuntime, worker: Worker, number: int, load_seconds: float) -> None:
        self.load_seconds = load_seconds
        self._runtime = runtime  # keeps the worker alive as long as the session
        self._number = number
        weakref.finalize(self, worker.close_later, worker.generation, number)

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model, and return outputs by name, in the graph's order."""
        outputs: Arrays = self._runtime.call("run", self._number, dict(inputs))
        return outputs

    def describe(self) -> Description | None:
        """Return how the file is run; None if the runtime does not report it."""
        description: Description | None = self._runtime.call("describe", self._number)
        return description

    def timed(self, inputs: Mapping[str, NDArray[np.generic]], calls: int) -> list[float]:
        """Run ``calls`` times inside the worker, and return the duration of each call in seconds."""
        seconds: list[float] = self._runtime.call("timed", self._number, dict(inputs), calls)
        return seconds

    def added_memory(self) -> int | None:
        """Return the increase of the worker's peak memory by loading and running, in bytes; None if unknown."""
        number: int | None = self._runtime.call("added_memory", self._number)
        return number


def hosted(
    name: str, *, own_process: bool = False, time_limit: float | None = None, **options: object
) -> HostedRuntime:
    """Return the runtime ``name``, in a worker process.

    Args:
        name: One of ``lightning_onnx.runtimes.base.RUNTIMES``, or ``"onnxruntime:"`` followed by the name of an
            execution provider.
        own_process: Whether it gets its own process. All runtimes except the default one always do.
        time_limit: Time limit of one call in seconds; default: ``TIME_LIMIT``.
        options: Arguments of the runtime's class, such as ``threads`` and ``precision``.

    Raises:
        ConfigurationError: If there is no such runtime.
    """
    check_name(name)
    base, _, provider = name.partition(":")
    if provider:
        options["provider"] = provider
    own_process = own_process or name != DEFAULT
    return HostedRuntime(name, RUNTIMES[base], own_process=own_process, time_limit=time_limit, **options)
