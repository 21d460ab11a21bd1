"""Artifacts in the making: written into a hidden directory, committed by one rename, swept up after a crash."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from lightning_onnx import scratch
from lightning_onnx.artifacts.artifact import MANIFEST, ONNXArtifact
from lightning_onnx.artifacts.file_digests import describe_file
from lightning_onnx.errors import ArtifactError
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.model import FileDigest
from lightning_onnx.report.report import Report

IfTaken = Literal["raise", "replace", "version"]
"""What to do if an artifact's name is taken: raise an error, replace what is there, or go on with ``-v1``, ``-v2``."""

_INDEX_OF_0_1 = re.compile(r"index\.json\.\d+")


@contextlib.contextmanager
def stage(dirpath: Path) -> Iterator[Path]:
    """Make a hidden directory in ``dirpath`` to write an artifact into; it is removed unless it is committed.

    It is locked while the block runs, so that other processes know that it is in use.

    Args:
        dirpath: The directory that the artifact goes into.

    Raises:
        ArtifactError: If ``dirpath`` cannot be written.
    """
    check_writable(dirpath)
    with contextlib.ExitStack() as stack:
        try:
            staged = stack.enter_context(scratch.scratch(dirpath, "staging"))
        except OSError as error:
            raise _unwritable(dirpath, error) from error
        yield staged


def commit(
    staged: Path,
    manifest: Manifest,
    directory: Path,
    if_taken: IfTaken = "raise",
    digests: Mapping[str, FileDigest] | None = None,
) -> ONNXArtifact:
    """Write the report, the manifest last, and move the directory to its name by one rename.

    Nothing is flushed to the disk, because that takes longer than everything else. A file that a power failure has cut
    off is found by its digest when the artifact is loaded.

    Args:
        staged: The directory of ``stage``.
        manifest: The manifest; ``files`` and ``name`` are filled in.
        directory: The artifact's directory.
        if_taken: What to do if ``directory`` exists.
        digests: Digests of files that are known already, by name; the others are read.

    Raises:
        ArtifactError: If ``directory`` exists and ``if_taken`` is ``"raise"``, or if it cannot be written.
    """
    for target in _targets(directory, if_taken):
        values = _describe(staged, dataclasses.replace(manifest, name=target.name), digests or {})
        try:
            if target == directory and if_taken == "replace":
                put(staged, target)
            else:
                staged.rename(target)
        except OSError as error:
            if if_taken != "raise" and os.path.lexists(target):
                continue  # another process was faster
            raise ArtifactError(f"{directory} cannot be written: {error}. Remove it or choose another name.") from error
        return ONNXArtifact(target, values)
    raise AssertionError


def _targets(directory: Path, if_taken: IfTaken) -> Iterator[Path]:
    if if_taken != "version":
        yield directory
    if if_taken != "raise":
        named = (versioned(directory.name, version) for version in itertools.count())
        yield from (directory.parent / name for name in named if not os.path.lexists(directory.parent / name))


def versioned(name: str, version: int) -> str:
    """Return the name of a further artifact, as ``ModelCheckpoint`` names further files."""
    return f"{name}-v{version}" if version else name


def _describe(staged: Path, manifest: Manifest, digests: Mapping[str, FileDigest]) -> dict[str, Any]:
    """Write the report and the manifest, and return what the manifest says."""
    Report(manifest.to_dict()).write(staged)
    files = {**digests, **manifest.model_digests()}  # models are large, and are read only once
    for path in sorted(staged.rglob("*")):
        name = path.relative_to(staged).as_posix()
        if path.is_file() and name not in files and name != MANIFEST:
            files[name] = describe_file(path)
    values = dataclasses.replace(manifest, files=dict(sorted(files.items()))).to_dict()
    (staged / MANIFEST).write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return values


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
        raise _unwritable(dirpath, error) from error


def _unwritable(dirpath: Path, error: OSError) -> ArtifactError:
    return ArtifactError(f"the directory {str(dirpath)!r} cannot be written: {error}. Choose another directory.")


def sweep(dirpath: Path) -> None:
    """Remove what processes that have ended staged and never committed."""
    scratch.sweep(dirpath)
    for path in list(dirpath.iterdir()) if dirpath.is_dir() else ():
        if _INDEX_OF_0_1.fullmatch(path.name):
            path.unlink(missing_ok=True)


def identity(directory: Path) -> tuple[int, int] | None:
    """Return what tells a directory from any other that has its path; None if there is none.

    A path may come to lead to something else while a run goes on, through a link at any place in it.
    """
    try:
        found = directory.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove(directory: Path) -> None:
    """Remove an artifact; it is hidden by a rename first, so that nobody sees half of it."""
    with stage(directory.parent) as hidden:
        directory.rename(hidden / directory.name)
