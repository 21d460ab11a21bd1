"""A process that computes is told from one that is stopped or waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_onnx.runtimes.worker import waiting
from lightning_onnx.runtimes.worker.waiting import Wait, ask_whether_to_go_on, interruptible, processor_time

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux has /proc")


@pytest.fixture
def started() -> Iterator[Callable[[str], int]]:
    """Start Python code in a process group of its own, and return the group."""
    processes = []

    def start(code: str) -> int:
        command = [sys.executable, "-S", "-c", code]
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()  # stopped earlier, it might wait for a child that has not started
        return process.pid

    yield start
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def grows(group: int) -> None:
    """Wait until the processor time of a group grows: the limit of a test ends this otherwise."""
    before = processor_time(group)
    while processor_time(group) == before:
        time.sleep(0.01)


@needs_proc
def test_a_computing_process_and_its_children_use_the_processor_and_a_stopped_one_does_not(started):
    endless = "print(flush=True)\nwhile True: pass"
    loop = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {endless!r}])"
    group = started(loop)
    grows(group)
    grows(group)
    os.killpg(group, signal.SIGSTOP)
    while states(group) != {"T"}:
        time.sleep(0.01)
    before = processor_time(group)
    time.sleep(0.1)
    assert processor_time(group) == before


def states(group: int) -> set[str]:
    """Return the states of all processes of a group, such as ``R`` and ``T``."""
    fields = [p.read_text().rpartition(")")[2].split() for p in Path("/proc").glob("[0-9]*/stat")]
    return {state for state, _, of, *_ in fields if int(of) == group}


def test_idle_seconds_count_from_the_last_time_that_the_process_computed(monkeypatch):
    now, computed = 100.0, 5
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now)
    monkeypatch.setattr(waiting, "processor_time", lambda group: computed)
    wait = Wait(1, None)
    now = 110.0
    assert (wait.seconds, wait.idle_seconds()) == (10, 0)  # nobody knows what was before
    now = 112.0
    assert wait.idle_seconds() == 2
    now, computed = 113.0, 6
    assert wait.idle_seconds() == 0
    now = 114.5
    assert wait.idle_seconds() == 1.5


def test_a_system_that_does_not_tell_counts_as_computing(monkeypatch, tmp_path):
    monkeypatch.setattr(waiting, "_PROCESSES", tmp_path)
    wait = Wait(1, None)
    assert wait.idle_seconds() == 0
    assert wait.idle_seconds() == 0


def test_the_inner_function_is_asked():
    asked: list[str] = []
    with interruptible(lambda wait: asked.append("outer")):
        with interruptible(lambda wait: asked.append("inner")):
            ask_whether_to_go_on(Wait(1, None))
        ask_whether_to_go_on(Wait(1, None))
    ask_whether_to_go_on(Wait(1, None))
    assert asked == ["inner", "outer"]
