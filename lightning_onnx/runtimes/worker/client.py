"""Runtimes in worker processes: one that crashes or hangs fails a check, but not the training.

The default runtime has one worker for the whole run; any other worker ends with its ``HostedRuntime`` and its sessions.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import WorkerEnded, WorkerReplaced
from lightning_onnx.profile import measured
from lightning_onnx.runtimes.base import DEFAULT, PROGRAM, PROGRAMS, Arrays, Description, check_name
from lightning_onnx.runtimes.worker.process import SERVER, Answer, Posted, Worker

_worker = Worker()
atexit.register(_worker.stop)


class HostedRuntime:
    """A runtime in a worker process.

    Args:
        name: Name of the runtime, for reports.
        target: Class of the runtime, as ``"module:class"``.
        own_process: Whether it has its own worker instead of the shared one.
        time_limit: Time limit of one call in seconds; default: 600.
        ahead: Whether its sessions may load and run a file while the caller does something else.
        options: Arguments of the class.

    Attributes:
        worker: The process.
        ahead: Whether its sessions may load and run a file while the caller does something else.
    """

    def __init__(
        self,
        name: str,
        target: str,
        *,
        own_process: bool = False,
        time_limit: float | None = None,
        ahead: bool = True,
        **options: object,
    ) -> None:
        self.name = name
        self._target = target
        self.worker = Worker() if own_process else _worker
        self.ahead = ahead
        self._time_limit = time_limit
        self._options = options
        self._own_process = own_process
        if own_process:
            weakref.finalize(self, self.worker.stop)

    def close(self) -> None:
        """Stop the worker unless it is the shared one; another call would restart it."""
        if self._own_process:
            self.worker.stop()

    def start(self) -> None:
        """Start the worker, which imports the runtime, unless it runs already; the caller does not wait for it."""
        self.worker.start(f"{SERVER}:version", self._target, self._options)

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

    def begin_load(self, model_path: Path) -> Callable[[], HostedSession]:
        """Start to load an ONNX file; the result waits for the session, and raises what ``load`` raises."""
        if not self.ahead:
            return functools.partial(self.load, model_path)
        return HostedSession(self, model_path.resolve(), waits=False).loaded

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

    def post(self, function: str, *arguments: object, generation: int | None = None) -> Posted:
        """Send the same request as ``call``, without waiting for the answer."""
        target = f"{SERVER}:{function}"
        return self.worker.post(target, *arguments, time_limit=self._time_limit, generation=generation)

    def post_load(self, number: int, model_path: Path) -> Posted:
        """Send the same request as ``load_as``, without waiting for the answer."""
        return self.post("load", number, self._target, str(model_path), self._options)

    def _ask(self, function: str, *arguments: object, generation: int | None = None) -> Answer:
        target = f"{SERVER}:{function}"
        return self.worker.ask(target, *arguments, time_limit=self._time_limit, generation=generation)


class HostedSession:
    """A session in a worker, which is closed there when this object is garbage-collected.

    If the call of another session ends the worker, the file is loaded again.

    Args:
        runtime: The runtime; the session keeps its worker alive.
        model_path: The file.
        waits: Whether to wait until the file is loaded.
    """

    def __init__(self, runtime: HostedRuntime, model_path: Path, *, waits: bool = True) -> None:
        self._runtime = runtime
        self._path = model_path
        self._has_ended = False
        self._loading: Posted | None = None
        self._load_seconds: float | None = None
        if waits:
            self.loaded()
        else:
            self._post_load()

    def loaded(self) -> HostedSession:
        """Wait until the file is loaded, and return this session.

        Raises:
            WorkerError: As for ``HostedRuntime.load``, and so the other exceptions.
        """
        if self._load_seconds is None:
            with measured("running the file"):
                self._load_seconds = self._load()
        return self

    @property
    def has_ended(self) -> bool:
        """Whether a call of this session ended the process; then it answers no other."""
        return self._has_ended

    @property
    def load_seconds(self) -> float:
        """How long the runtime took to load the file, in seconds."""
        self.loaded()
        assert self._load_seconds is not None
        return self._load_seconds

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model, and return outputs by name, in the graph's order."""
        return self.begin(inputs)()

    def begin(self, inputs: Mapping[str, NDArray[np.generic]]) -> Callable[[], Arrays]:
        """Start a run; the result waits for its outputs, and raises what ``run`` raises.

        The run may wait itself for the worker, which does one thing at a time.
        """
        run_now = functools.partial(self._call, "run", dict(inputs))
        if self._has_ended or not self._runtime.ahead:
            return run_now
        try:
            posted = self._runtime.post("run", self._number, dict(inputs), generation=self._generation)
        except (WorkerEnded, OSError):  # a process that cannot take it; the file is loaded again
            return run_now
        return functools.partial(self._outputs_of, posted, inputs, run_now)

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

    def _outputs_of(
        self, posted: Posted, inputs: Mapping[str, NDArray[np.generic]], run_now: Callable[[], Arrays]
    ) -> Arrays:
        try:
            with measured("running the file"):
                outputs: Arrays = self._runtime.worker.collect(posted).value
                return outputs
        except WorkerReplaced:
            return run_now()
        except WorkerEnded as error:
            self._has_ended = True
            raise _with_inputs(error, inputs) from error

    def _post_load(self) -> None:
        self._number = self._runtime.worker.new_number()
        with contextlib.suppress(WorkerEnded, OSError):  # then it is loaded when it is needed
            self._loading = self._runtime.post_load(self._number, self._path)
            self._is_at(self._loading.generation)

    def _load(self) -> float:
        posted, self._loading = self._loading, None
        seconds: float
        if posted is not None:
            with contextlib.suppress(WorkerReplaced):
                seconds = self._runtime.worker.collect(posted).value
                return seconds
        self._number = self._runtime.worker.new_number()
        loaded = self._runtime.load_as(self._number, self._path)
        self._is_at(loaded.generation)  # by now, another thread may have replaced the process
        seconds = loaded.value
        return seconds

    def _is_at(self, generation: int) -> None:
        """Note the process that has the session."""
        self._generation = generation
        weakref.finalize(self, self._runtime.worker.close_later, generation, self._number)

    def _call(self, function: str, *arguments: object) -> Any:
        if self._has_ended:
            raise WorkerEnded("an earlier call of this session ended its worker process")
        try:
            with measured("running the file"):
                return self._answer(function, *arguments)
        except WorkerEnded as error:
            self._has_ended = True
            if arguments and isinstance(arguments[0], Mapping):
                raise _with_inputs(error, arguments[0]) from error
            raise

    def _answer(self, function: str, *arguments: object) -> Any:
        try:
            return self._runtime.call(function, self._number, *arguments, generation=self._generation)
        except WorkerReplaced:
            self._load()
            return self._runtime.call(function, self._number, *arguments, generation=self._generation)


def _with_inputs(error: WorkerEnded, inputs: Mapping[str, Any]) -> WorkerEnded:
    """Return the error with the inputs that the program was given; their values are data, and not told."""
    given = ", ".join(f"{name} {x.dtype}{list(x.shape)}" for name, x in inputs.items() if isinstance(x, np.ndarray))
    is_empty = any(isinstance(x, np.ndarray) and not x.size for x in inputs.values())
    cause = "; an input without rows may be the cause: give at least one" if is_empty else ""
    return WorkerEnded(f"{error} (inputs: {given}){cause}") if given else error


def hosted(
    name: str, *, own_process: bool = False, time_limit: float | None = None, ahead: bool = True, **options: object
) -> HostedRuntime:
    """Return the runtime ``name``, in a worker process.

    Args:
        name: One of ``lightning_onnx.runtimes.base.RUNTIMES``, ``"onnxruntime:"`` followed by the name of an
            execution provider, or ``"torch"`` for ``.pt2`` files.
        own_process: Whether it gets its own process. All runtimes except the default one always do.
        time_limit: Time limit of one call in seconds; default: 600.
        ahead: Whether its sessions may load and run a file while the caller does something else.
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
    return HostedRuntime(name, PROGRAMS[base], own_process=own_process, time_limit=time_limit, ahead=ahead, **options)
