"""The program of a worker process: ``python -m lightning_onnx.runtimes.host``; imports neither torch nor Lightning."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.runtimes.base import Arrays, Runtime, Session

_sessions: dict[int, Session] = {}


def version(runtime: str) -> str:
    """Return the version of a runtime."""
    return _runtime(runtime).version()


def load(number: int, runtime: str, model_path: str, options: Mapping[str, Any]) -> None:
    """Load a file and keep the session under a number."""
    _sessions[number] = _runtime(runtime, **options).load(Path(model_path))


def run(number: int, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
    """Run the session of that number."""
    return _sessions[number].run(inputs)


def close(number: int) -> None:
    """Forget a session."""
    _sessions.pop(number, None)


def _runtime(name: str, **options: Any) -> Runtime:
    module, _, attribute = name.partition(":")
    runtime: Runtime = getattr(importlib.import_module(module), attribute)(**options)
    return runtime


def serve(connection: Connection) -> None:
    """Answer calls until the other side is gone."""
    while True:
        try:
            target, arguments = connection.recv()
        except EOFError:
            return
        try:
            module, _, function = target.partition(":")
            answer = (True, getattr(importlib.import_module(module), function)(*arguments))
        except Exception as error:  # whatever a runtime raises goes back to who asked
            answer = (False, f"{type(error).__name__}: {error}")
        connection.send(answer)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
