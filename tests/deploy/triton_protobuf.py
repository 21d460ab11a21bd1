"""Triton's own definition of its configuration, from the package tritonclient.

It is unpacked into a folder of its own, because it requires older versions of protobuf and ml_dtypes than others here.
"""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

VERSION = "2.73.0"
FOLDER = Path(__file__).parents[2] / "build" / f"tritonclient-{VERSION}"


@functools.cache
def definitions() -> Any:
    """Return ``tritonclient.grpc.model_config_pb2``, without the client; skip the test if pip cannot get it."""
    file = FOLDER / "tritonclient" / "grpc" / "model_config_pb2.py"
    if not file.is_file():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(FOLDER)]
        done = subprocess.run([*command, f"tritonclient=={VERSION}"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"tritonclient {VERSION} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parsed(text: str) -> Any:
    """Read a ``config.pbtxt`` as Triton does: unknown fields and types are errors."""
    from google.protobuf import text_format

    return text_format.Parse(text, definitions().ModelConfig())
