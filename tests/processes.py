"""Other processes, as the operating system sees them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest


def assert_ends(pid: int) -> None:
    """Fail if a process goes on for longer than ten seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().split()[2] == "Z":  # ended, and nobody has asked how
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} goes on")
