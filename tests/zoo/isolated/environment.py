"""Environments for libraries, which share torch, Lightning and onnx with the one that the runner runs in.

An environment has only what its library needs beyond the shared packages, so most are made in seconds. It is kept, and
made again when the requirements or the shared versions change.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from .library import Library

PINNED = (
    "torch",
    "torchvision",
    "lightning",
    "pytorch-lightning",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "onnxscript",
    "numpy",
    "ml-dtypes",
)
"""Packages that must have the same version in every environment."""


class CannotInstall(Exception):
    """pip cannot install what a library requires; the message is the last error of pip."""


def python_of(library: Library, cache: Path) -> Path:
    """Return the Python of a library's environment, which is made first if needed.

    Args:
        library: The library.
        cache: Folder of the environments.

    Raises:
        CannotInstall: If its requirements cannot be installed beside the pinned packages.
    """
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in PINNED]
    wanted = "\n".join([sys.version, *pins, *library.requirements, *library.without_dependencies])
    folder = cache.resolve() / f"{library.name}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    python, stamp = folder / "bin" / "python", folder / "complete"
    with _only_one(folder.with_suffix(".lock")):
        if not stamp.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder)
            constraints = folder / "constraints.txt"
            constraints.write_text("\n".join(pins), encoding="utf-8")
            _install(python, *library.without_dependencies, "--no-deps")
            _install(python, *library.requirements, f"--constraint={constraints}")
            stamp.touch()
    return python


def _make(folder: Path) -> None:
    """Make an environment that finds the packages of this one after its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    shared = dict.fromkeys(sysconfig.get_paths()[kind] for kind in ("purelib", "platlib"))
    Path(paths["purelib"], "shared.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")


def _install(python: Path, *arguments: str) -> None:
    if all(argument.startswith("--") for argument in arguments):
        return
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        raise CannotInstall((errors or done.stderr.splitlines() or ["pip failed"])[0].removeprefix("ERROR: "))


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold a lock that other processes wait for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
