"""All artifacts of one dirpath: where it lies, what they are called, which is the best, which go."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_onnx import artifact as artifacts
from lightning_onnx.artifact import MANIFEST, ONNXArtifact
from lightning_onnx.errors import ArtifactError, ConfigurationError
from lightning_onnx.weights import Source

INDEX = "index.json"
"""Beside the artifacts: which there are and which is the best, for programs that look at the directory."""


def default_dirpath(loggers: Sequence[Any], default_root_dir: str) -> str:
    """Return the directory beside ``ModelCheckpoint``'s own default: one for each run.

    ``trainer.log_dir`` would be one for all runs with loggers such as W&B's and MLflow's.
    """
    if not loggers:
        return os.path.join(default_root_dir, "onnx")
    first = loggers[0]
    version = first.version if isinstance(first.version, str) else f"version_{first.version}"
    return os.path.join(first.save_dir or default_root_dir, str(first.name), version, "onnx")


def resolve(dirpath: str) -> str:
    """Return a directory with ``~`` and variables resolved; URLs stay.

    Raises:
        ConfigurationError: If fsspec does not know the URL's protocol.
    """
    path = dirpath.removeprefix("file://")
    if "://" not in path:
        return os.path.abspath(os.path.expandvars(os.path.expanduser(path)))
    try:
        fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise ConfigurationError(
            f"dirpath={dirpath!r} cannot be reached: {error}. Install the package that fsspec names, or choose a "
            "directory of this machine."
        ) from error
    return path.rstrip("/")


def check_filename(filename: str | None) -> None:
    """Raise where a name cannot be that of a directory.

    Raises:
        ConfigurationError: If it is empty, has a separator, or is hidden.
    """
    outside = re.sub(r"\{[^}]*\}", "", filename) if isinstance(filename, str) else ""  # a metric may be val/loss
    if filename is not None and (not isinstance(filename, str) or not filename or re.search(r"[/\\]|^\.", outside)):
        raise ConfigurationError(
            f"filename={filename!r} is not the name of a directory. Give one such as '{{epoch}}-{{val_loss:.2f}}'."
        )


def artifact_name(filename: str | None, source: Source, metrics: Mapping[str, Any]) -> str:
    """Return the name of an artifact: the template filled as ``ModelCheckpoint`` does, else the checkpoint's stem."""
    if filename is None:
        stem = Path(source.checkpoint).name.removesuffix(".ckpt") if source.checkpoint else None
        name = stem or f"epoch={source.epoch}-step={source.global_step}"
    else:
        values = {**metrics, "epoch": source.epoch or 0, "step": source.global_step or 0}
        name = Path(ModelCheckpoint(filename=filename).format_checkpoint_name(values)).name.removesuffix(".ckpt")
    return name.replace("/", "_").lstrip(".") or "model"


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
        artifacts.check_writable(self.local)
        artifacts.sweep(self.local)
        if self.url is not None:
            try:
                _write(f"{self.url}/.writable", b"")
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
                and not (self.url and _exists(f"{self.url}/{candidate.name}"))
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
        _write(place, (json.dumps({"artifacts": [*others, *own]}, indent=2) + "\n").encode())

    def _remove(self, artifact: ONNXArtifact) -> None:
        if artifact.directory.is_dir():
            artifacts.remove(artifact.directory)
        if self.url is not None:
            _remove_url(f"{self.url}/{artifact.name}")


def read_index(place: str) -> list[dict[str, Any]]:
    """Return the entries of an index; none where there is no index, or not one that can be read."""
    try:
        with fsspec.open(place, "rb") as file:
            return list(json.load(file)["artifacts"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def upload(source: Path, url: str) -> str:
    """Copy an artifact to a URL, in place of what is there, its manifest last.

    Returns:
        The URL.
    """
    _remove_url(url)
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
    with artifacts.stage(destination.parent) as staged:
        for path in system.find(root):
            place = staged / str(path)[len(root) :].lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(path, str(place))
        staged.rename(destination)


def _remove_url(url: str) -> None:
    system, root = fsspec.core.url_to_fs(url)
    with contextlib.suppress(FileNotFoundError):
        system.rm(f"{root}/{MANIFEST}")  # from here on it is no artifact
    if system.exists(root):
        system.rm(root, recursive=True)


def _exists(url: str) -> bool:
    system, plain = fsspec.core.url_to_fs(url)
    return bool(system.exists(plain))


def _write(place: str, content: bytes) -> None:
    """Write a file; on a local disk whole or not at all."""
    if "://" in place:
        system, plain = fsspec.core.url_to_fs(place)
        system.makedirs(plain.rpartition("/")[0], exist_ok=True)
        system.pipe_file(plain, content)
        return
    hidden = Path(f"{place}.{os.getpid()}")
    hidden.write_bytes(content)
    hidden.replace(place)
