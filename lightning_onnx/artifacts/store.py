"""All artifacts of one run in a directory that others may share: from which checkpoint, and which is the best."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec

from lightning_onnx.artifacts import remote, staging
from lightning_onnx.artifacts.artifact import MANIFEST, ONNXArtifact
from lightning_onnx.artifacts.index import INDEX, IndexEntry, read_index
from lightning_onnx.artifacts.shared_index import SharedIndex
from lightning_onnx.errors import ArtifactError

log = logging.getLogger(__name__)


class Store:
    """The artifacts of one run, by the checkpoint that each was made from.

    A directory on another file system is made in a local one and copied: object stores cannot rename, so the manifest
    is copied last, and a directory without one is not an artifact.

    Args:
        dirpath: Path or URL as ``naming.resolve`` returns it.
        owner: Tells apart the runs that share the directory in its index; None for a new run.

    Attributes:
        url: The directory if it is a URL, else None.
        owner: The same.
        local: The directory itself, or the local one from which the URL is written.
        artifacts: The artifacts that are kept, by the key of their checkpoint; oldest first.
        best: Key of the one that the index says is the best.
    """

    def __init__(self, dirpath: str, owner: str | None = None) -> None:
        self.url = dirpath if "://" in dirpath else None
        self.owner = owner or uuid.uuid4().hex[:16]
        self._cache = tempfile.TemporaryDirectory(prefix="lightning-onnx-") if self.url else None
        self.local = Path(self._cache.name if self._cache else dirpath)
        self.artifacts: dict[str, ONNXArtifact] = {}
        self.best: str | None = None
        self._changed = False
        self._identities: dict[str, tuple[int, int] | None] = {}
        self._claims: dict[str, str] = {}

    def open(self) -> None:
        """Make the directory, and remove what processes that have ended did not finish.

        Raises:
            ArtifactError: If it cannot be written.
        """
        staging.check_writable(self.local)
        staging.sweep(self.local)
        if self.url is not None:
            remote.check_writable(self.url)

    @contextlib.contextmanager
    def place(
        self, key: str, name: str, earlier: ONNXArtifact | Exception | None = None
    ) -> Iterator[tuple[Path, staging.IfTaken]]:
        """Give the directory for a new artifact, and what to do if it exists.

        An artifact of the same checkpoint is replaced. If another has the name, it continues with ``-v1``, ``-v2`` and
        so on, as the names of checkpoints do. Several runs may want one name at the same time: on a disk, the rename
        that makes the artifact visible decides; at a URL, the name is taken in advance.

        Args:
            key: Key of the checkpoint that it is made from.
            name: The name that it should have.
            earlier: What was made from the same checkpoint a moment ago; an artifact is replaced.
        """
        for present in (earlier, self.artifacts.get(key)):
            if isinstance(present, ONNXArtifact) and re.fullmatch(re.escape(name) + r"(-v\d+)?", present.name):
                is_own = present is earlier or self._is_own(present)
                yield present.directory, "replace" if is_own else "version"
                return
        if self.url is None:
            yield self.local / name, "version"
            return
        claimed = self._claim(name)
        try:
            yield self.local / claimed, "raise"
        except BaseException:
            remote.release(self._claims.pop(claimed))
            raise

    def add(self, key: str, artifact: ONNXArtifact) -> None:
        """Keep an artifact, in place of the one that was made from the same checkpoint."""
        present = self.artifacts.pop(key, None)
        if present is not None and present.name != artifact.name:
            self._remove(present)
        self._keep(key, artifact)
        self._changed = True
        if self.url is not None:
            claimed = self._claims.pop(artifact.name, None)
            try:
                remote.upload(artifact.directory, self._place(artifact.name), replace=claimed is None)
            finally:
                if claimed is not None:
                    remote.release(claimed)

    def location(self, artifact: ONNXArtifact) -> str:
        """Return the path or URL where an artifact stays; below a URL, its directory ends with the run."""
        return str(artifact.directory) if self.url is None else self._place(artifact.name)

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
                remote.download(self._place(name), self.local / name)
            return self._keep(key, ONNXArtifact.load(self.local / name))
        return None

    def names(self) -> list[str]:
        """Return the names of all artifacts in the directory, those of other runs too."""
        if self.url is None:
            return sorted(p.parent.name for p in self.local.glob(f"*/{MANIFEST}") if not p.parent.name.startswith("."))
        system, plain = fsspec.core.url_to_fs(self.url)
        system.invalidate_cache()
        return sorted(str(p).split("/")[-2] for p in system.glob(f"{plain}/*/{MANIFEST}"))

    def owners(self) -> dict[str, str]:
        """Return the owner of each artifact in the index; of one that the index does not know, it is not known."""
        return {entry.directory: entry.owner for entry in read_index(self._place(INDEX)) if entry.owner}

    def checkpoint_of(self, name: str) -> str | None:
        """Return the file name of the checkpoint of an artifact; None if none can be read."""
        with contextlib.suppress(KeyError, TypeError):
            checkpoint: str | None = self._manifest(name)["source"]["checkpoint"]
            return checkpoint
        return None

    def write_index(self, best: str | None) -> None:
        """Write the index, if anything has changed since it was last written.

        Args:
            best: Key of the best artifact, None if none passed.

        Raises:
            OSError: If it cannot be written.
            ArtifactError: If the directory cannot be written.
        """
        best = best if best in self.artifacts else None
        if self._changed or best != self.best:
            self.best, self._changed = best, True  # until it is written
            self._index().write(self._entries())
            self._changed = False

    def close(self) -> None:
        """Let go of names that were taken, and put right what another run may have written into the index.

        Raises:
            OSError: If the directory cannot be read or written.
            ArtifactError: If the directory cannot be written.
        """
        while self._claims:
            remote.release(self._claims.popitem()[1])
        if self.artifacts and not self._changed:
            self._index().write(self._entries(), unless_right=True)

    def _index(self) -> SharedIndex:
        return SharedIndex(self._place(INDEX), self.owner, self.names, self._unknown)

    def _entries(self) -> list[IndexEntry]:
        return [IndexEntry.of(a, is_best=key == self.best, owner=self.owner) for key, a in self.artifacts.items()]

    def _unknown(self, name: str) -> IndexEntry | None:
        """Return the entry of an artifact that the index does not know; None if it cannot be read."""
        with contextlib.suppress(ArtifactError):
            return IndexEntry.of(ONNXArtifact(Path(name), dict(self._manifest(name))), is_best=False, owner="")
        return None

    def _manifest(self, name: str) -> Mapping[str, Any]:
        """Return the manifest of an artifact as it is; empty if it cannot be read."""
        with contextlib.suppress(OSError, ValueError):
            content = remote.read_json(f"{self._place(name)}/{MANIFEST}")
            return content if isinstance(content, dict) else {}
        return {}

    def _place(self, name: str) -> str:
        """Return the path or URL of an artifact or file; two stores of one URL have other local directories."""
        return f"{self.url or self.local}/{name}"

    def _claim(self, name: str) -> str:
        """Take the first name at the URL, with a version if need be, that no other run has."""
        for version in itertools.count():
            free = staging.versioned(name, version)
            claimed = None if (self.local / free).exists() else remote.claim(self._place(free))
            if claimed is not None:
                self._claims[free] = claimed
                return free
        raise AssertionError

    def _keep(self, key: str, artifact: ONNXArtifact) -> ONNXArtifact:
        self.artifacts[key] = artifact
        self._identities[artifact.name] = staging.identity(artifact.directory)
        return artifact

    def _is_own(self, artifact: ONNXArtifact) -> bool:
        """Tell whether the path still leads to the directory that this run made or adopted."""
        return staging.identity(artifact.directory) == self._identities.get(artifact.name)

    def _remove(self, artifact: ONNXArtifact) -> None:
        if artifact.directory.is_dir():
            if self._is_own(artifact):
                staging.remove(artifact.directory)
            else:
                log.warning("%s is not the directory that this run made; it stays as it is", artifact.directory)
        if self.url is not None:
            remote.remove_url(self._place(artifact.name))
