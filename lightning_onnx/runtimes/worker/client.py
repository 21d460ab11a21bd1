"""Runtimes in worker processes: one that crashes or hangs fails a check, but not the training.

The default runtime has one worker for the whole run; any other worker ends with its ``HostedRuntime`` and its sessions.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import WorkerEnded, WorkerReplaced
from lightning_onnx.profile import measured
from lightning_onnx.runtimes.base import DEFAULT, PROGRAM, PROGRAMS, Arrays, Description, check_name
from lightning_onnx.runtimes.worker.process import SERVER, Answer, Worker

_worker = Worker()
atexit.register(_worker.stop)


class HostedRuntime:
    """A runtime in a worker process.

    Args:
        name: Name of the runtime, for reports.
        target: Class of the runtime, as ``"module:class"``.
        own_process: Whether it has its own worker instead of the shared one.
        time_limit: Time limit of one call in seconds; default: 600.
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
        return self._ask(function, *arguments, generation=generation).value

    def call_function(self, target: str, *arguments: object) -> Any:
        """Call any function, given as ``"module:function"``, in the worker."""
        return self.worker.ask(target, *arguments, time_limit=self._time_limit).value

    def load_as(self, number: int, model_path: Path) -> Answer:
        """Load a file as session ``number``.

        Returns:
            The loading time in seconds, and the process that has the session.
        """
        return self._ask("load", number, self._target, str(model_path), self._options)

    def _ask(self, function: str, *arguments: object, generation: int | None = None) -> Answer:
        target = f"{SERVER}:{function}"
        return self.worker.ask(target, *arguments, time_limit=self._time_limit, generation=generation)


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
        with measured("running the file"):
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
        loaded = self._runtime.load_as(self._number, self._path)
        self._generation = loaded.generation  # by now, another thread may have replaced the process
        weakref.finalize(self, worker.close_later, self._generation, self._number)
        seconds: float = loaded.value
        return seconds

    def _call(self, function: str, *arguments: object) -> Any:
        if self._has_ended:
            raise WorkerEnded("an earlier call of this session ended its worker process")
        try:
            with measured("running the file"):
                return self._answer(function, *arguments)
        except WorkerEnded:
            self._has_ended = True
            raise

    def _answer(self, function: str, *arguments: object) -> Any:
        try:
            return self._runtime.call(function, self._number, *arguments, generation=self._generation)
        except WorkerReplaced:
            self._load()
            return self._runtime.call(function, self._number, *arguments, generation=self._generation)


def hosted(
    name: str, *, own_process: bool = False, time_limit: float | None = None, **options: object
) -> HostedRuntime:
    """Return the runtime ``name``, in a worker process.

    Args:
        name: One of ``lightning_onnx.runtimes.base.RUNTIMES``, ``"onnxruntime:"`` followed by the name of an
            execution provider, or ``"torch"`` for ``.pt2`` files.
        own_process: Whether it gets its own process. All runtimes except the default one always do.
        time_limit: Time limit of one call in seconds; default: 600.
        options: Arguments of the runtime's class, such as ``threads`` and ``precision``.

    Raises:
        ConfigurationError: If there is no such runtime.
    """
    if name != PROGRAM:
        check_name(name)
    base, _, provider = name.partition(":")
    if provider:
        options["provider"] = provider
    own_process = own_process or name != DEFAULT
    return HostedRuntime(name, PROGRAMS[base], own_process=own_process, time_limit=time_limit, **options)
