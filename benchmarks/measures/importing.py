"""Seconds of imports, in new processes: the fastest of five runs."""

from __future__ import annotations

import sys

from kit import fastest, tell

IMPORTS = ("from lightning_onnx import ONNXArtifact", "import lightning_onnx")


if __name__ == "__main__":
    tell({code: fastest([sys.executable, "-c", code]) for code in IMPORTS})
