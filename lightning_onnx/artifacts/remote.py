"""Artifacts on any file system that fsspec knows: uploading, downloading and removing them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import fsspec

from lightning_onnx.artifacts import staging
from lightning_onnx.artifacts.artifact import MANIFEST
from lightning_onnx.errors import ArtifactError


def upload(source: Path, url: str) -> str:
    """Copy an artifact to a URL, in place of what is there; its manifest goes last.

    Args:
        source: The artifact's directory.
        url: The URL of the copy.

    Returns:
        The URL.
    """
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
    """
    system, root = fsspec.core.url_to_fs(url)
    with staging.stage(destination.parent) as staged:
        for path in system.find(root):
            place = staged / str(path)[len(root) :].lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(path, str(place))
        staged.rename(destination)


def remove_url(url: str) -> None:
    """Remove an artifact from a URL, its manifest first; nothing happens if there is none."""
    system, root = fsspec.core.url_to_fs(url)
    with contextlib.suppress(FileNotFoundError):
        system.rm(f"{root}/{MANIFEST}")  # from here on it is no artifact
    if system.exists(root):
        system.rm(root, recursive=True)


def exists(url: str) -> bool:
    """Tell whether there is anything at a URL."""
    system, plain = fsspec.core.url_to_fs(url)
    return bool(system.exists(plain))


def write(place: str, content: bytes) -> None:
    """Write a file; on a local disk it appears whole or not at all.

    Args:
        place: Path or URL of the file.
        content: What to write.
    """
    if "://" in place:
        system, plain = fsspec.core.url_to_fs(place)
        system.makedirs(plain.rpartition("/")[0], exist_ok=True)
        system.pipe_file(plain, content)
        return
    hidden = Path(f"{place}.{os.getpid()}")
    hidden.write_bytes(content)
    hidden.replace(place)


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
        raise ArtifactError(f"dirpath={url!r} cannot be written: {error}. Choose another dirpath.") from error
