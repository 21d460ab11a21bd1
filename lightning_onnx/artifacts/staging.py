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
    """Make a hidden directory in ``dirpath`` to write an artifact into; it is removed unless it is committed.

    Args:
        dirpath: The directory that the artifact goes into.

    Raises:
        ArtifactError: If ``dirpath`` cannot be written.
    """
    check_writable(dirpath)
    prefix = f".onnx-staging-{platform.node()}-{os.getpid()}_"
    staged = Path(tempfile.mkdtemp(prefix=prefix, dir=dirpath))
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def commit(staged: Path, manifest: Manifest, directory: Path, replace: bool = False) -> ONNXArtifact:
    """Write the manifest last and move the directory to its name by one rename.

    Nothing is flushed to the disk, because that takes longer than everything else. A file that a power failure has cut
    off is found by its digest when the artifact is loaded.

    Args:
        staged: The directory of ``stage``.
        manifest: The manifest; ``files`` is filled in.
        directory: The artifact's directory.
        replace: Whether to replace an artifact that is already there.

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
        if replace:
            put(staged, directory)
        else:
            staged.rename(directory)
    except OSError as error:
        raise ArtifactError(f"{directory} cannot be written: {error}. Remove it or choose another name.") from error
    return ONNXArtifact(directory, values)


def put(new: Path, directory: Path) -> None:
    """Rename a directory, in place of what is there; if that fails, what was there comes back.

    Args:
        new: The directory to rename, on the same disk.
        directory: Its new name.

    Raises:
        OSError: If it cannot be renamed.
    """
    if not directory.exists():
        new.rename(directory)
        return
    with stage(directory.parent) as hidden:
        old = directory.rename(hidden / "old")
        try:
            new.rename(directory)
        except OSError:
            old.rename(directory)
            raise


def check_writable(dirpath: Path) -> None:
    """Make ``dirpath``, and check that files can be written into it.

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
    """Remove what earlier runs staged and never committed: their process has ended, or it is a day old."""
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
    except OSError:  # it belongs to another user
        return True
    return True


def remove(directory: Path) -> None:
    """Remove an artifact; it is hidden by a rename first, so that nobody sees half of it."""
    with stage(directory.parent) as hidden:
        directory.rename(hidden / directory.name)
