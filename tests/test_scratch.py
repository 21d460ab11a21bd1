from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_onnx.scratch import Attempt, attempt, locked, machine


@contextlib.contextmanager
def holding(directory: Path) -> Iterator[int]:
    """Another process that holds the lock, and gives its number."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(directory):
            os.write(write, b"x")
            signal.pause()
    os.read(read, 1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def outcome(directory: Path) -> Attempt:
    with attempt(directory) as found:
        return found


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    with holding(tmp_path):
        assert outcome(tmp_path) is Attempt.HELD
    assert outcome(tmp_path) is Attempt.GOT
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", [True, False])
def test_a_process_that_was_forked_meanwhile_does_not_keep_the_lock(fails: bool, tmp_path: Path) -> None:
    """Such as a worker of a DataLoader."""
    child = 0
    with contextlib.suppress(RuntimeError), locked(tmp_path):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        if fails:
            raise RuntimeError
    try:
        assert outcome(tmp_path) is Attempt.GOT
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_process_that_was_stopped_holds_nobody_up(tmp_path: Path) -> None:
    with holding(tmp_path) as child:
        os.kill(child, signal.SIGSTOP)
        with locked(tmp_path, wait=0.1):
            assert outcome(tmp_path) is Attempt.HELD


def test_one_thread_at_a_time(tmp_path: Path) -> None:
    inside, seen = 0, []

    def work() -> None:
        nonlocal inside
        for _ in range(20):
            with locked(tmp_path):
                inside += 1
                seen.append(inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 80


def test_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert [outcome(tmp_path / name) for name in ("link", "missing")] == [Attempt.NO_LOCKS] * 2
    (tmp_path / "file").touch()
    assert outcome(tmp_path / "file") is Attempt.NO_LOCKS

    def refused(*args: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    assert outcome(tmp_path) is Attempt.NO_LOCKS
    with locked(tmp_path):
        pass


def test_the_machine_has_one_name() -> None:
    assert machine() == machine() != ""
