"""Locks of directories: they end with their process, however it ends, and leave no files.

A file would be locked in the same way (``filelock`` does), but it would stay among the user's artifacts. Some file
systems have no locks, such as NFS for directories; nothing here relies on them, and no wait for one is unbounded.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

WAIT = 3.0
"""Seconds to wait for a lock, which is held for milliseconds; whoever holds it longer has been stopped."""


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
