"""Artifacts on any file system that fsspec knows: uploading, downloading and removing them."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from pathlib import Path
from typing import Any

import fsspec

from lightning_onnx.artifacts import foreign, staging
from lightning_onnx.artifacts.artifact import MANIFEST
from lightning_onnx.errors import ArtifactError


def upload(source: Path, url: str, *, replace: bool = True) -> str:
    """Copy an artifact to a URL; its manifest goes last.

    Args:
        source: The artifact's directory.
        url: The URL of the copy.
        replace: Whether to remove what is there.

    Returns:
        The URL.
    """
    if replace:
        remove_url(url)
    system, root = fsspec.core.url_to_fs(url)
    files = (file for file in source.rglob("*") if file.is_file())
    for file in sorted(files, key=lambda file: (file.name == MANIFEST, file)):
        place = f"{root}/{file.relative_to(source).as_posix()}"
        system.makedirs(place.rpartition("/")[0], exist_ok=True)
        system.put_file(str(file), place)
    return url


def download(url: str, destination: Path) -> None:
    """Copy an artifact from a URL; it appears whole or not at all.

    Args:
        url: The URL of the artifact.
        destination: The directory to make.

    Raises:
        OSError: If there is nothing at the URL.
        ArtifactError: If a file there has a name that leads out of the directory, or an invalid one.
    """
    system, root = fsspec.core.url_to_fs(url)
    with staging.stage(destination.parent) as staged:
        for path in system.find(root):
            place = foreign.checked_name(staged, str(path)[len(root) :].lstrip("/"))
            place.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(path, str(place))
        staged.rename(destination)


def remove_url(url: str) -> None:
    """Remove an artifact from a URL, its manifest first; nothing happens if there is none."""
    system, root = fsspec.core.url_to_fs(url)
    with contextlib.suppress(FileNotFoundError):
        system.rm(f"{root}/{MANIFEST}")  # from here on it is not an artifact
    if system.exists(root):
        system.rm(root, recursive=True)


def claim(url: str) -> str | None:
    """Take a name for an artifact that is about to be made, where no rename can do it.

    Each process leaves a file of its own and then looks whether it is alone: of two that take one name at the same
    time, at least one sees the other, and whoever sees another lets it go.

    Args:
        url: The URL of the artifact.

    Returns:
        The file, for ``release``; None if the name is taken.
    """
    system, root = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    if system.exists(root):
        return None
    mine = f"{url}/.claim-{uuid.uuid4().hex}"
    write(mine, b"")
    system.invalidate_cache()
    if len(system.find(root)) > 1:
        release(mine)
        return None
    return mine


def release(claimed: str) -> None:
    """Remove the file of ``claim``, when the artifact is there or will not be made."""
    system, plain = fsspec.core.url_to_fs(claimed)
    with contextlib.suppress(FileNotFoundError):
        system.rm(plain)
    parent = plain.rpartition("/")[0]
    system.invalidate_cache()
    with contextlib.suppress(OSError, ValueError, NotImplementedError):  # object stores have no directories
        if not system.ls(parent, detail=False):  # some file systems remove a directory with what is in it
            system.rmdir(parent)


def write(place: str, content: bytes) -> None:
    """Write a file, which appears whole or not at all.

    Args:
        place: Path or URL of the file.
        content: What to write.
    """
    if "://" in place:
        system, plain = fsspec.core.url_to_fs(place)
        system.makedirs(plain.rpartition("/")[0], exist_ok=True)
        system.pipe_file(plain, content)
        return
    with staging.stage(Path(place).parent) as staged:
        new = staged / "new"
        new.write_bytes(content)
        new.replace(place)


def read_json(place: str) -> Any:
    """Return the content of a JSON file that may come from anybody.

    Args:
        place: Path or URL of the file.

    Raises:
        OSError: If it cannot be read, or is not a regular file.
        ValueError: If it is not JSON, or has values that are refused.
    """
    if "://" not in place:
        return foreign.read_json(Path(place))
    with tempfile.TemporaryDirectory(prefix="lightning-onnx-") as folder:
        system, plain = fsspec.core.url_to_fs(place)
        system.get_file(plain, f"{folder}/file")
        return foreign.read_json(Path(folder, "file"))


def check_writable(url: str) -> None:
    """Write a file below a URL and remove it.

    Raises:
        ArtifactError: If that fails.
    """
    try:
        write(f"{url}/.writable", b"")
        system, plain = fsspec.core.url_to_fs(f"{url}/.writable")
        system.rm(plain)
    except Exception as error:  # each file system has errors of its own
        raise ArtifactError(
            f"the directory {url!r} cannot be written: {error}. Choose another one with dirpath=."
        ) from error
