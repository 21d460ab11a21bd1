"""Seconds of imports, in new processes: the fastest of five runs."""

from __future__ import annotations

import subprocess
import sys
import time

from kit import tell

IMPORTS = ("from lightning_onnx import ONNXArtifact", "import lightning_onnx")


def fastest(code: str) -> float:
    """Return the seconds of the fastest run."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    tell({code: fastest(code) for code in IMPORTS})
