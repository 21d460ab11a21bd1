"""Artifacts in the making: written into a hidden directory, committed by one rename, swept up after a crash."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lightning_onnx.artifacts.artifact import MANIFEST, ONNXArtifact, describe_file
from lightning_onnx.errors import ArtifactError
from lightning_onnx.manifest.manifest import Manifest

_STAGING = re.compile(r"\.onnx-staging-(.*)-(\d+)_\w+")

_STALE_SECONDS = 24 * 3600


@contextlib.contextmanager
def stage(dirpath: Path) -> Iterator[Path]:
    """Give a hidden directory in ``dirpath`` to write an artifact into; what is not committed is removed.

    Raises:
        ArtifactError: If ``dirpath`` cannot be written.
    """
    check_writable(dirpath)
    staged = Path(tempfile.mkdtemp(prefix=_stage_prefix(), dir=dirpath))
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def commit(staged: Path, manifest: Manifest, directory: Path, replace: bool = False) -> ONNXArtifact:
    """Write the manifest last and move the directory to its name by one rename.

    Nothing is flushed to the disk, which takes longer than all the rest: what a power failure cuts off is found by
    the digests when the artifact is loaded.

    Args:
        staged: The directory of ``stage``.
        manifest: The manifest without ``files``.
        directory: Where the artifact goes.
        replace: Whether an artifact that is there goes.

    Raises:
        ArtifactError: If ``directory`` exists, or cannot be written.
    """
    files = manifest.model_digests()  # models are large, and were read once already
    for path in sorted(staged.rglob("*")):
        name = path.relative_to(staged).as_posix()
        if path.is_file() and name not in files:
            files[name] = describe_file(path)
    values = dataclasses.replace(manifest, files=dict(sorted(files.items()))).to_dict()
    (staged / MANIFEST).write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    staged.chmod(0o755)
    try:
        if replace and directory.exists():
            remove(directory)
        staged.rename(directory)
    except OSError as error:
        raise ArtifactError(f"{directory} cannot be written: {error}. Remove it or choose another name.") from error
    return ONNXArtifact(directory, values)


def check_writable(dirpath: Path) -> None:
    """Make ``dirpath`` and raise where nothing can be written into it.

    Raises:
        ArtifactError: If it cannot be made or written.
    """
    try:
        dirpath.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=dirpath):
            pass
    except OSError as error:
        raise ArtifactError(f"dirpath={str(dirpath)!r} cannot be written: {error}. Choose another dirpath.") from error


def sweep(dirpath: Path) -> None:
    """Remove what earlier runs staged and never committed: their process is gone, or they are a day old."""
    for path in dirpath.glob(".onnx-staging-*") if dirpath.is_dir() else ():
        found = _STAGING.fullmatch(path.name)
        here = found is not None and found[1] == platform.node()
        if found and ((here and not _runs(int(found[2]))) or time.time() - path.stat().st_mtime > _STALE_SECONDS):
            shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def remove(directory: Path) -> None:
    """Remove an artifact: hidden by a rename first, so that nobody sees half of it."""
    hidden = Path(tempfile.mkdtemp(prefix=_stage_prefix(), dir=directory.parent))
    directory.rename(hidden / directory.name)
    shutil.rmtree(hidden, ignore_errors=True)


def _stage_prefix() -> str:
    return f".onnx-staging-{platform.node()}-{os.getpid()}_"
