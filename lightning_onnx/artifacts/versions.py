"""Versions of the packages that take part in an export."""

from __future__ import annotations

import functools
from importlib import metadata


@functools.cache
def versions() -> dict[str, str]:
    """Return the installed versions by package; ``"unknown"`` for one that is not installed."""
    found = {}
    for name in ("torch", "lightning", "onnx", "onnxscript", "onnxruntime", "lightning-onnx"):
        try:
            found[name.replace("-", "_")] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a source tree
            found[name.replace("-", "_")] = "unknown"
    return found
