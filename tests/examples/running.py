"""Runs examples as users do: in their own directory, with their own Python process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def run(script: str, *arguments: str | Path, cwd: Path, timeout: float = 280) -> str:
    """Run a script below ``examples`` and return what it prints; it must not fail."""
    command = [sys.executable, REPOSITORY / "examples" / script, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
