"""The memory of this process; None on systems that do not report it."""

from __future__ import annotations

import sys


def now() -> int | None:
    """Return the resident memory, in bytes."""
    return _status("VmRSS")


def mark() -> None:
    """Reset the peak, if the system supports it (Linux)."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


def peak() -> int | None:
    """Return the largest resident memory since the start or the last ``mark``, in bytes."""
    return _status("VmHWM")


def _status(key: str) -> int | None:
    if sys.platform != "linux":
        return None
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = dict(line.split(":", 1) for line in file)
        return int(found[key].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # a sandbox may hide the file
        return None
