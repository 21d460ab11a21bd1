"""Hidden directories that a process works in, and the locks that tell whether it still does.

Locks of directories end with their process, however it ends, and leave no files. A file would be locked in the same way
(``filelock`` does), but it would stay among the user's artifacts. Some file systems have no locks, such as NFS for
directories; nothing here relies on them, and no wait for one is unbounded.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import os
import platform
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

WAIT = 3.0
"""Seconds to wait for a lock, which is held for milliseconds; whoever holds it longer has been stopped."""

_STALE_SECONDS = 24 * 3600
_NAME = re.compile(r"\.onnx-(?:staging|snapshot)-(.*)-(\d+)_\w+")


class Attempt(enum.Enum):
    """The outcome of an attempt to lock a directory."""

    GOT = "got"
    HELD = "held by another process or thread"
    NO_LOCKS = "the file system has no locks, or the directory does not exist"


@contextlib.contextmanager
def attempt(directory: Path) -> Iterator[Attempt]:
    """Try to lock a directory while the block runs.

    Args:
        directory: The directory; a link to one is not followed.

    Yields:
        Whether it was locked.
    """
    if sys.platform == "win32":
        yield Attempt.NO_LOCKS
        return
    import fcntl

    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield Attempt.NO_LOCKS
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            outcome = Attempt.GOT
        except BlockingIOError:
            outcome = Attempt.HELD
        except OSError:
            outcome = Attempt.NO_LOCKS
        yield outcome
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # a process that was forked meanwhile has the handle too
        os.close(handle)


@contextlib.contextmanager
def locked(directory: Path, wait: float = WAIT) -> Iterator[None]:
    """Run the block while no other process or thread has the lock, as far as the file system knows locks.

    Args:
        directory: The directory.
        wait: Seconds after which the block runs anyway.
    """
    directory = directory.resolve()
    deadline = time.monotonic() + wait
    while True:
        with attempt(directory) as outcome:
            if outcome is not Attempt.HELD or time.monotonic() > deadline:
                yield
                return
        time.sleep(0.01)


@functools.cache
def machine() -> str:
    """Return a name of the running system: process numbers and locks are known within it, in all its containers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:12]
    except OSError:
        return platform.node()


@contextlib.contextmanager
def scratch(dirpath: Path, kind: Literal["staging", "snapshot"]) -> Iterator[Path]:
    """Make a hidden directory and lock it while the block runs; it is removed at the end, if it is still there.

    Args:
        dirpath: The directory to make it in.
        kind: What it is for; a part of its name.

    Raises:
        OSError: If it cannot be made.
    """
    with contextlib.ExitStack() as stack:
        made = _make(dirpath, kind, stack)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _make(dirpath: Path, kind: str, stack: contextlib.ExitStack) -> Path:
    """Make and lock the directory, again if another process swept it up before it was locked."""
    while True:
        made = dirpath / f".onnx-{kind}-{machine()}-{os.getpid()}_{uuid.uuid4().hex[:8]}"
        made.mkdir()  # not by tempfile, which ignores the umask
        if stack.enter_context(attempt(made)) is not Attempt.HELD and made.is_dir():
            return made


def sweep(dirpath: Path) -> None:
    """Remove the hidden directories of processes that have ended."""
    for path in list(dirpath.iterdir()) if dirpath.is_dir() else ():
        found = _NAME.fullmatch(path.name)
        if found:
            with contextlib.suppress(OSError):  # another process sweeps too
                _remove_stale(path, machine_of=found[1], pid=int(found[2]))


def _remove_stale(path: Path, machine_of: str, pid: int) -> None:
    """Remove a staged directory, unless it may be in use.

    A lock tells who lives, and where there are no locks the number of the process, which may be used again: in a
    container, it is always 1. Of other machines, it is not known who lives, and a day must have passed.
    """
    with attempt(path) as outcome:
        if outcome is Attempt.HELD:
            return
        if machine_of == machine() and outcome is Attempt.GOT:
            has_ended = True
        elif machine_of in (machine(), platform.node()):  # version 0.1 gave the name of the host, and had no locks
            has_ended = not _runs(pid)
        else:
            has_ended = False
        if has_ended or time.time() - path.lstat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        return True
    return True
