"""Artifacts at a URL: uploaded and downloaded whole, through fsspec."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import fsspec

from lightning_onnx.artifacts import staging
from lightning_onnx.artifacts.artifact import MANIFEST


def upload(source: Path, url: str) -> str:
    """Copy an artifact to a URL, in place of what is there, its manifest last.

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
    """Copy an artifact from a URL, whole or not at all.

    Raises:
        OSError: If it is not there.
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
    """Write a file; on a local disk whole or not at all."""
    if "://" in place:
        system, plain = fsspec.core.url_to_fs(place)
        system.makedirs(plain.rpartition("/")[0], exist_ok=True)
        system.pipe_file(plain, content)
        return
    hidden = Path(f"{place}.{os.getpid()}")
    hidden.write_bytes(content)
    hidden.replace(place)
