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
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import RuntimeUnavailable, WorkerEnded, WorkerError, WorkerReplaced
from lightning_onnx.runtimes.base import DEFAULT, RUNTIMES, Arrays, Description, check_name
from lightning_onnx.runtimes.worker.channel import Channel

TIME_LIMIT = 600.0
"""Default time limit for one call, in seconds; a runtime that takes longer counts as hanging."""

_SERVER = "lightning_onnx.runtimes.worker.server"

_PACKAGES = Path(__file__).resolve().parents[3]
"""The directory that contains the package ``lightning_onnx``."""


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
        self._closing: list[int] = []
        self._numbers = itertools.count()
        self._requests = itertools.count()

    def call(
        self, target: str, *arguments: object, time_limit: float | None = None, generation: int | None = None
    ) -> Any:
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
                self._ask(f"{_SERVER}:close", (self._closing.pop(),), 60)
            done, answer = self._ask(target, arguments, TIME_LIMIT if time_limit is None else time_limit)
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
        self._closing.clear()
        self._is_waiting = False

    def _ask(self, target: str, arguments: tuple[object, ...], limit: float) -> tuple[bool, Any]:
        """Send a request, and return the answer that has its number."""
        assert self._channel is not None
        request, deadline = next(self._requests), time.monotonic() + limit
        self._is_waiting = True
        try:
            self._channel.send((request, target, arguments), limit)
            answered = None
            while answered != request:
                answered, done, answer = self._channel.receive(deadline - time.monotonic())
        except TimeoutError as error:
            self.stop()
            raise WorkerEnded(f"no answer within {limit:g} s; the worker process was stopped") from error
        except (EOFError, OSError) as error:
            raise WorkerEnded(f"the worker process died{self._cause()}") from error
        except BaseException:
            self.stop()
            raise
        self._is_waiting = False
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
                [sys.executable, "-m", _SERVER, str(theirs.fileno())],
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

    Attributes:
        worker: The process.
    """

    def __init__(
        self, name: str, target: str, *, own_process: bool = False, time_limit: float | None = None, **options: object
    ) -> None:
        self.name = name
        self._target = target
        self.worker = Worker() if own_process else _worker
        self._time_limit = time_limit
        self._options = options
        self._own_process = own_process
        if own_process:
            weakref.finalize(self, self.worker.stop)

    def close(self) -> None:
        """Stop the worker unless it is the shared one; another call would restart it."""
        if self._own_process:
            self.worker.stop()

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
        return HostedSession(self, model_path.resolve())

    def call(self, function: str, *arguments: object, generation: int | None = None) -> Any:
        """Call a function of ``lightning_onnx.runtimes.worker.server`` in the worker, or in one process of it."""
        target = f"{_SERVER}:{function}"
        return self.worker.call(target, *arguments, time_limit=self._time_limit, generation=generation)

    def call_function(self, target: str, *arguments: object) -> Any:
        """Call any function, given as ``"module:function"``, in the worker."""
        return self.worker.call(target, *arguments, time_limit=self._time_limit)

    def load_as(self, number: int, model_path: Path) -> float:
        """Load a file as session ``number``, and return the loading time in seconds."""
        seconds: float = self.call("load", number, self._target, str(model_path), self._options)
        return seconds


class HostedSession:
    """A session in a worker, which is closed there when this object is garbage-collected.

    If the call of another session ends the worker, the file is loaded again.

    Args:
        runtime: The runtime; the session keeps its worker alive.
        model_path: The file.

    Attributes:
        load_seconds: How long the runtime took to load the file, in seconds.
    """

    def __init__(self, runtime: HostedRuntime, model_path: Path) -> None:
        self._runtime = runtime
        self._path = model_path
        self._has_ended = False
        self.load_seconds = self._load()

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model, and return outputs by name, in the graph's order."""
        outputs: Arrays = self._call("run", dict(inputs))
        return outputs

    def describe(self) -> Description | None:
        """Return how the file is run; None if the runtime does not report it."""
        description: Description | None = self._call("describe")
        return description

    def timed(self, inputs: Mapping[str, NDArray[np.generic]], calls: int) -> list[float]:
        """Run ``calls`` times inside the worker, and return the duration of each call in seconds."""
        seconds: list[float] = self._call("timed", dict(inputs), calls)
        return seconds

    def added_memory(self) -> int | None:
        """Return the increase of the worker's peak memory by loading and running, in bytes; None if unknown."""
        number: int | None = self._call("added_memory")
        return number

    def _load(self) -> float:
        worker = self._runtime.worker
        self._number = worker.new_number()
        seconds = self._runtime.load_as(self._number, self._path)
        self._generation = worker.generation
        weakref.finalize(self, worker.close_later, self._generation, self._number)
        return seconds

    def _call(self, function: str, *arguments: object) -> Any:
        if self._has_ended:
            raise WorkerEnded("an earlier call of this session ended its worker process")
        try:
            try:
                return self._runtime.call(function, self._number, *arguments, generation=self._generation)
            except WorkerReplaced:
                self._load()
                return self._runtime.call(function, self._number, *arguments, generation=self._generation)
        except WorkerEnded:
            self._has_ended = True
            raise


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
