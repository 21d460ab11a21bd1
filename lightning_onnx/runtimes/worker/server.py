"""The main program of a worker process, run by ``python -m``; imports neither torch nor Lightning."""

from __future__ import annotations

import dataclasses
import importlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import RuntimeUnavailable
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.base import Arrays, Description, Runtime, Session
from lightning_onnx.runtimes.worker import memory
from lightning_onnx.runtimes.worker.channel import Channel


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """A session, the inputs and outputs of its file, and the memory of the process before loading it, in bytes."""

    session: Session
    specs: ModelSpecs
    memory: int | None


_sessions: dict[int, _Loaded] = {}


def version(runtime: str, options: Mapping[str, object]) -> str:
    """Return the version of a runtime."""
    return _runtime(runtime, **options).version()


def load(number: int, runtime: str, model_path: str, options: Mapping[str, object]) -> float:
    """Load a file, keep the session under its number, and return the loading time in seconds."""
    path = Path(model_path)
    specs = ModelSpecs.read(path)
    program = _runtime(runtime, **options)
    program.version()  # imports the package before the clock starts
    memory.mark()
    before, started = memory.now(), time.perf_counter()
    session = program.load(path)
    seconds = time.perf_counter() - started
    _sessions[number] = _Loaded(session, specs, before)
    return seconds


def describe(number: int) -> Description | None:
    """Return how a session runs its file; None if it does not report it."""
    said = getattr(_sessions[number].session, "describe", None)
    return said() if said is not None else None


def run(number: int, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Run a session.

    Raises:
        InputError: If the inputs do not fit the file.
    """
    loaded = _sessions[number]
    return loaded.session.run(loaded.specs.checked(inputs))


def timed(number: int, inputs: Mapping[str, NDArray[np.generic]], calls: int) -> list[float]:
    """Run ``calls`` times, and return the duration of each call in seconds."""
    loaded = _sessions[number]
    feeds = loaded.specs.checked(inputs)
    return [_seconds(loaded.session, feeds) for _ in range(calls)]


def added_memory(number: int) -> int | None:
    """Return the increase of the peak memory by loading and running, in bytes; None if unknown."""
    before, most = _sessions[number].memory, memory.peak()
    return None if before is None or most is None else max(most - before, 0)


def _seconds(session: Session, feeds: Mapping[str, NDArray[np.generic]]) -> float:
    started = time.perf_counter()
    session.run(feeds)
    return time.perf_counter() - started


def _runtime(name: str, **options: object) -> Runtime:
    module, _, attribute = name.partition(":")
    runtime: Runtime = getattr(importlib.import_module(module), attribute)(**options)
    return runtime


def serve(channel: Channel) -> None:
    """Answer requests, each under its number and with its duration in seconds, until the other side closes.

    A request also has the numbers of the sessions that are no longer needed.
    """
    while True:
        try:
            number, target, arguments, closing = channel.receive()
        except EOFError:
            return
        for session in closing:
            _sessions.pop(session, None)
        started = time.monotonic()
        try:
            module, _, function = target.partition(":")
            answer = (True, getattr(importlib.import_module(module), function)(*arguments))
        except RuntimeUnavailable as error:
            answer = (False, error)
        except Exception as error:  # any exception of a runtime is returned to the caller
            answer = (False, f"{type(error).__name__}: {error}")
        channel.send((number, *answer, time.monotonic() - started))


def end_with(parent: int) -> None:
    """End this process once it has another parent: in a runtime that hangs, nothing else notices.

    Args:
        parent: The process id of the parent.
    """
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    from lightning_onnx.runtimes.worker import server  # not this copy of it: requests name their functions by module

    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    server.serve(Channel(socket.socket(fileno=int(sys.argv[1]))))
