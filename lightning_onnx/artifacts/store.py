"""All artifacts of one dirpath: where it lies, what they are called, which is the best, which go."""

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
from typing import Any

import fsspec

from lightning_onnx.artifacts import staging
from lightning_onnx.artifacts.artifact import MANIFEST, ONNXArtifact
from lightning_onnx.artifacts.remote import download, exists, remove_url, upload, write
from lightning_onnx.errors import ArtifactError

INDEX = "index.json"
"""Beside the artifacts: which there are and which is the best, for programs that look at the directory."""


_lock = threading.Lock()
_taken: set[Path] = set()
"""Directories that are about to be written by this process."""


class Store:
    """The artifacts of one callback in one directory, by the checkpoint that each was made from.

    A directory of another file system is written by way of a local one: object stores cannot rename, so there the
    manifest goes last, and a directory without one is no artifact.

    Args:
        dirpath: Path or URL; see ``resolve``.
        owner: Tells the callbacks that share the directory apart in its index.
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
            try:
                write(f"{self.url}/.writable", b"")
                system, plain = fsspec.core.url_to_fs(f"{self.url}/.writable")
                system.rm(plain)
            except Exception as error:  # each file system has errors of its own
                raise ArtifactError(f"dirpath={self.url!r} cannot be written: {error}. Choose another.") from error

    @contextlib.contextmanager
    def place(self, key: str, name: str, first_try: Any = None) -> Iterator[tuple[Path, bool]]:
        """Give the directory that an artifact goes to, and whether one of our own is there to be replaced.

        A new one takes the name that is free: ``name``, else ``-v1``, ``-v2`` … as checkpoints do. It stays taken while
        the block runs, for the other callbacks of the process.

        Args:
            key: The checkpoint that it is made from.
            name: The name that it should have.
            first_try: What was made for the same checkpoint a moment ago, if that is to be replaced.
        """
        for present in (first_try, self.artifacts.get(key)):
            if isinstance(present, ONNXArtifact) and re.fullmatch(re.escape(name) + r"(-v\d+)?", present.name):
                yield present.directory, True
                return
        with _lock:
            directory = self._free(name)
            _taken.add(directory)
        try:
            yield directory, False
        finally:
            _taken.discard(directory)

    def _free(self, name: str) -> Path:
        for version in itertools.count(1):
            candidate = self.local / (name if version == 1 else f"{name}-v{version - 1}")
            if (
                candidate not in _taken
                and not candidate.exists()
                and not (self.url and exists(f"{self.url}/{candidate.name}"))
            ):
                return candidate
        raise AssertionError

    def add(self, key: str, artifact: ONNXArtifact) -> None:
        """Keep an artifact, in place of the one that the same checkpoint had."""
        present = self.artifacts.pop(key, None)
        if present is not None and present.name != artifact.name:
            self._remove(present)
        self.artifacts[key] = artifact
        self._changed = True
        if self.url is not None:
            upload(artifact.directory, f"{self.url}/{artifact.name}")

    def remove(self, key: str) -> None:
        """Remove the artifact of a checkpoint that is no longer kept."""
        artifact = self.artifacts.pop(key, None)
        if artifact is not None:
            self._changed = True
            self._remove(artifact)

    def adopt(self, key: str, name: str) -> ONNXArtifact | None:
        """Take over an artifact that an earlier part of the run left here; None where it is missing or damaged."""
        with contextlib.suppress(ArtifactError, OSError):
            if self.url is not None and not (self.local / name).exists():
                download(f"{self.url}/{name}", self.local / name)
            self.artifacts[key] = ONNXArtifact.load(self.local / name)
            return self.artifacts[key]
        return None

    def names(self) -> list[str]:
        """Names of all artifacts that lie here."""
        if self.url is None:
            return sorted(p.parent.name for p in self.local.glob(f"*/{MANIFEST}") if not p.parent.name.startswith("."))
        system, plain = fsspec.core.url_to_fs(self.url)
        return sorted(str(p).split("/")[-2] for p in system.glob(f"{plain}/*/{MANIFEST}"))

    def made_from(self, checkpoint: str) -> list[str]:
        """Names of the artifacts whose manifest names a checkpoint's file; nothing else of them is read."""
        return [name for name in self.names() if self._checkpoint_of(name) == checkpoint]

    def _checkpoint_of(self, name: str) -> Any:
        place = f"{self.url or self.local}/{name}/{MANIFEST}"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), fsspec.open(place, "rb") as file:
            return json.load(file)["source"]["checkpoint"]
        return None

    def write_index(self, best: str | None) -> None:
        """Write which artifacts there are.

        Args:
            best: Key of the best one, None where there is none that passed.
        """
        best = best if best in self.artifacts else None
        if not self._changed and best == self.best:
            return
        self.best, self._changed = best, False
        place = f"{self.url}/{INDEX}" if self.url else str(self.local / INDEX)
        present = self.names()
        others = [e for e in read_index(place) if e["owner"] != self.owner and e["directory"] in present]
        own = [
            {
                "directory": a.name,
                "best": key == self.best,
                "passed": a.passed,
                **{k: a.manifest["source"][k] for k in ("checkpoint", "epoch", "global_step", "monitor", "score")},
                "owner": self.owner,
            }
            for key, a in self.artifacts.items()
        ]
        write(place, (json.dumps({"artifacts": [*others, *own]}, indent=2) + "\n").encode())

    def _remove(self, artifact: ONNXArtifact) -> None:
        if artifact.directory.is_dir():
            staging.remove(artifact.directory)
        if self.url is not None:
            remove_url(f"{self.url}/{artifact.name}")


def read_index(place: str) -> list[dict[str, Any]]:
    """Return the entries of an index; none where there is no index, or not one that can be read."""
    try:
        with fsspec.open(place, "rb") as file:
            return list(json.load(file)["artifacts"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
