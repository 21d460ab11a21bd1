"""Sizes and digests of an artifact's files, found in a time that is limited by what the disk holds."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from lightning_onnx.artifacts.foreign import check_holes, open_regular
from lightning_onnx.manifest.model import FileDigest


class Reader:
    """Reads the files of one artifact, each of them once.

    Whoever makes an artifact can give a file any number of names, by links, and any size, by leaving nearly all of it
    unwritten.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], FileDigest] = {}
        self._hole_bytes = 0

    def describe(self, path: Path, expected_bytes: int | None = None) -> FileDigest:
        """Return a file's digest and size.

        Args:
            path: The file.
            expected_bytes: The size that it should have; a file of another size is not read, and its digest is empty.

        Raises:
            OSError: If it is not a regular file, or cannot be read.
            ArtifactError: If more of the files read so far is unwritten than any exporter leaves.
        """
        with open_regular(path) as file:
            found = os.fstat(file.fileno())
            if expected_bytes not in (None, found.st_size):
                return FileDigest("", found.st_size)
            key = found.st_dev, found.st_ino
            if key not in self._known:
                self._hole_bytes = check_holes(path, file, self._hole_bytes)
                digest = hashlib.sha256()
                while block := file.read(2**20):
                    digest.update(block)
                self._known[key] = FileDigest(digest.hexdigest(), found.st_size)
            return self._known[key]


def describe_file(path: Path) -> FileDigest:
    """Return the digest and size of one file.

    Raises:
        OSError: If it is not a regular file, or cannot be read.
    """
    return Reader().describe(path)
