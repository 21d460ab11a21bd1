"""All artifacts of one callback in one directory: which checkpoint each was made from, and which is the best."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec

from lightning_onnx.artifacts import staging
from lightning_onnx.artifacts.artifact import MANIFEST, ONNXArtifact
from lightning_onnx.artifacts.index import INDEX, IndexEntry, read_index, write_index
from lightning_onnx.artifacts.remote import check_writable, download, exists, remove_url, upload
from lightning_onnx.errors import ArtifactError

_lock = threading.Lock()
_reserved: set[str] = set()
"""Paths and URLs of the artifacts that this process is about to write."""


class Store:
    """The artifacts of one callback in one directory, by the checkpoint that each was made from.

    A directory on another file system is made in a local one and copied: object stores cannot rename, so the manifest
    is copied last, and a directory without one is no artifact.

    Args:
        dirpath: Path or URL as ``naming.resolve`` returns it.
        owner: Tells apart the callbacks that share the directory in its index.

    Attributes:
        url: The directory if it is a URL, else None.
        owner: A digest of ``owner``.
        local: The directory itself, or the local one from which the URL is written.
        artifacts: The artifacts that are kept, by the key of their checkpoint; oldest first.
        best: Key of the one that the index says is the best.
    """

    def __init__(self, dirpath: str, owner: str) -> None:
        self.url = dirpath if "://" in dirpath else None
        self.owner = hashlib.sha256(owner.encode()).hexdigest()[:16]  # the text may hold private paths
        self._cache = tempfile.TemporaryDirectory(prefix="lightning-onnx-") if self.url else None
        self.local = Path(self._cache.name if self._cache else dirpath)
        self.artifacts: dict[str, ONNXArtifact] = {}
        self.best: str | None = None
        self._changed = False

    def open(self) -> None:
        """Make the directory, and remove what earlier runs did not finish.

        Raises:
            ArtifactError: If it cannot be written.
        """
        staging.check_writable(self.local)
        staging.sweep(self.local)
        if self.url is not None:
            check_writable(self.url)

    @contextlib.contextmanager
    def place(
        self, key: str, name: str, earlier: ONNXArtifact | Exception | None = None
    ) -> Iterator[tuple[Path, bool]]:
        """Give the directory for a new artifact, and whether an artifact of this callback is there to be replaced.

        If the name is taken, it continues with ``-v1``, ``-v2`` and so on, as the names of checkpoints do. While the
        block runs, no other callback of the process is given the same directory.

        Args:
            key: Key of the checkpoint that it is made from.
            name: The name that it should have.
            earlier: What was made from the same checkpoint a moment ago; an artifact is replaced.
        """
        for present in (earlier, self.artifacts.get(key)):
            if isinstance(present, ONNXArtifact) and re.fullmatch(re.escape(name) + r"(-v\d+)?", present.name):
                yield present.directory, True
                return
        with _lock:
            free = self._free(name)
            reserved = self._place(free)
            _reserved.add(reserved)
        try:
            yield self.local / free, False
        finally:
            _reserved.discard(reserved)

    def add(self, key: str, artifact: ONNXArtifact) -> None:
        """Keep an artifact, in place of the one that was made from the same checkpoint."""
        present = self.artifacts.pop(key, None)
        if present is not None and present.name != artifact.name:
            self._remove(present)
        self.artifacts[key] = artifact
        self._changed = True
        if self.url is not None:
            upload(artifact.directory, self._place(artifact.name))

    def remove(self, key: str) -> None:
        """Remove the artifact of a checkpoint that is no longer kept."""
        artifact = self.artifacts.pop(key, None)
        if artifact is not None:
            self._changed = True
            self._remove(artifact)

    def adopt(self, key: str, name: str) -> ONNXArtifact | None:
        """Take over an artifact that an earlier part of the run left here; None if it is missing or damaged."""
        with contextlib.suppress(ArtifactError, OSError):
            if self.url is not None and not (self.local / name).exists():
                download(self._place(name), self.local / name)
            self.artifacts[key] = ONNXArtifact.load(self.local / name)
            return self.artifacts[key]
        return None

    def names(self) -> list[str]:
        """Return the names of all artifacts in the directory, those of other callbacks too."""
        if self.url is None:
            return sorted(p.parent.name for p in self.local.glob(f"*/{MANIFEST}") if not p.parent.name.startswith("."))
        system, plain = fsspec.core.url_to_fs(self.url)
        return sorted(str(p).split("/")[-2] for p in system.glob(f"{plain}/*/{MANIFEST}"))

    def made_from(self, checkpoint: str) -> list[str]:
        """Return the names of the artifacts that were made from a checkpoint; only their manifests are read.

        Args:
            checkpoint: File name of the checkpoint.
        """
        return [name for name in self.names() if self._checkpoint_of(name) == checkpoint]

    def write_index(self, best: str | None) -> None:
        """Write the index, if anything has changed since it was last written.

        Args:
            best: Key of the best artifact, None if none passed.

        Raises:
            OSError: If it cannot be written.
        """
        best = best if best in self.artifacts else None
        if not self._changed and best == self.best:
            return
        self.best, self._changed = best, False
        place = self._place(INDEX)
        present = self.names()
        others = [e for e in read_index(place) if e.owner != self.owner and e.directory in present]
        own = [IndexEntry.of(a, is_best=key == best, owner=self.owner) for key, a in self.artifacts.items()]
        write_index(place, [*others, *own])

    def _place(self, name: str) -> str:
        """Return the path or URL of an artifact or file; two stores of one URL have other local directories."""
        return f"{self.url or self.local}/{name}"

    def _free(self, name: str) -> str:
        """Return the first name, with a version if need be, that does not exist and is not reserved."""
        for version in itertools.count():
            free = f"{name}-v{version}" if version else name
            place = self._place(free)
            if not (place in _reserved or (self.local / free).exists() or (self.url and exists(place))):
                return free
        raise AssertionError

    def _checkpoint_of(self, name: str) -> str | None:
        """Return the checkpoint that a manifest names; None if it names none, or cannot be read."""
        place = f"{self._place(name)}/{MANIFEST}"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), fsspec.open(place, "rb") as file:
            checkpoint: str | None = json.load(file)["source"]["checkpoint"]
            return checkpoint
        return None

    def _remove(self, artifact: ONNXArtifact) -> None:
        if artifact.directory.is_dir():
            staging.remove(artifact.directory)
        if self.url is not None:
            remove_url(self._place(artifact.name))
