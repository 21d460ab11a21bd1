"""onnxruntime that crashes, hangs or is slow when a file says so; runs in the worker process."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from lightning_onnx.runtimes.onnxruntime import ONNXRuntime

VARIABLE = "LIGHTNING_ONNX_TEST_FAULT"

STARTED = "LIGHTNING_ONNX_TEST_STARTED"
"""Names the file that gets the process id of a worker before it hangs."""

SLOW = 6.0
"""Seconds of processor time that a slow worker takes before it answers for the first time."""


class Faulty(ONNXRuntime):
    def load(self, model_path: Path) -> Any:
        fault = Path(os.environ[VARIABLE])
        if fault.exists():
            kind = fault.read_text()
            if kind == "crash":
                os.abort()
            if STARTED in os.environ:
                started = Path(os.environ[STARTED])
                started.with_suffix(".new").write_text(str(os.getpid()))
                started.with_suffix(".new").rename(started)
            if kind == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            while kind == "in a dead loop" or (kind == "slow" and time.process_time() < SLOW):
                pass
            if kind == "asleep":
                time.sleep(600)
        return super().load(model_path)


class Hanging(ONNXRuntime):
    def load(self, model_path: Path) -> Any:
        time.sleep(600)


class Crashing(ONNXRuntime):
    def load(self, model_path: Path) -> Any:
        os.abort()
