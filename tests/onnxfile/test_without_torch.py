"""Files are read, and run in a worker, without torch and Lightning: their modules import neither."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import lightning_onnx.onnxfile
import lightning_onnx.runtimes
import lightning_onnx.runtimes.worker

PACKAGES = (lightning_onnx.onnxfile, lightning_onnx.runtimes, lightning_onnx.runtimes.worker)
MODULES = [
    found.name for package in PACKAGES for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
]
HEAVY = {"torch", "lightning", "pytorch_lightning", "lightning_fabric"}

IMPORT_EACH = """
import importlib, sys
heavy, modules = set(sys.argv[1].split(",")), sys.argv[2].split(",")
for name in modules:
    importlib.import_module(name)
    found = heavy & set(sys.modules)
    assert not found, f"{name} imports {found}"
"""


def imported(modules: list[str], heavy: set[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IMPORT_EACH, ",".join(heavy), ",".join(modules)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_no_module_imports_torch() -> None:
    assert {"lightning_onnx.onnxfile.walk", "lightning_onnx.runtimes.worker.server"} <= set(MODULES)
    done = imported(MODULES, HEAVY)
    assert done.returncode == 0, done.stderr


def test_imports_of_a_module_are_detected() -> None:
    done = imported(["lightning_onnx.onnxfile.wire", "lightning_onnx.onnxfile.walk"], {"onnx"})
    assert "lightning_onnx.onnxfile.walk imports {'onnx'}" in done.stderr
