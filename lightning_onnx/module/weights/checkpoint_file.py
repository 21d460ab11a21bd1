"""Reads checkpoints: opens them before they are replaced, and runs no code that they contain."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import torch

from lightning_onnx import scratch
from lightning_onnx.errors import WeightsError, first_line
from lightning_onnx.module.weights.damage import check_parts, why_unreadable
from lightning_onnx.module.weights.inert_pickle import InertPickle, InertUnpickler

if TYPE_CHECKING:
    from torch.distributed.checkpoint.filesystem import FileSystemReader

_OF_A_RUN = 'Keep checkpoints until training ends, or export the live weights (weights="live").'


class OpenCheckpoint:
    """A checkpoint whose file is open, so that it can still be read after its path is removed or overwritten.

    Use it as a context manager, or call ``close``.

    Args:
        path: Path or URL.
        advice: What to do if it cannot be read.
    """

    def __init__(self, path: str, advice: str = _OF_A_RUN) -> None:
        self.name = os.path.basename(path)
        self._advice = advice
        system, plain = fsspec.core.url_to_fs(path)
        self._stack = contextlib.ExitStack()
        self._folder = self._stack.enter_context(_snapshot(Path(plain))) if system.isdir(plain) else None
        self._file = None if self._folder else system.open(plain, "rb")

    def read(self, *, is_verified: bool = False) -> dict[str, Any]:
        """Read the checkpoint without running any code in it.

        Hyperparameters may contain objects of any class, which ``torch.load(weights_only=True)`` refuses; here they
        become inert placeholders.

        Args:
            is_verified: Whether to compare the file's checksums first, which ``torch.load`` does not do.

        Raises:
            WeightsError: If the file cannot be read or contains no ``state_dict``.
        """
        if is_verified and self._file is not None:
            check_parts(self.name, self._file)
        try:
            content = _read_shards(self._folder) if self._folder else _unpickled(self._file)
        except Exception as error:
            told = why_unreadable(self._folder or self._file)
            raise _unreadable(self.name, error, self._advice, told) from error
        if not isinstance(content, dict) or not isinstance(content.get("state_dict"), Mapping):
            raise WeightsError(f"{self.name!r} contains no state_dict. Give a Lightning checkpoint.")
        return content

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._stack.close()

    def __enter__(self) -> OpenCheckpoint:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_checkpoint(path: str, advice: str = _OF_A_RUN) -> OpenCheckpoint:
    """Open a checkpoint.

    Args:
        path: Path or URL of a file, or of a directory written by a sharded strategy.
        advice: What to do if it cannot be read.

    Raises:
        WeightsError: If it cannot be opened.
    """
    try:
        return OpenCheckpoint(path, advice)
    except Exception as error:
        raise _unreadable(os.path.basename(path), error, advice) from error


def read_checkpoint(path: str, advice: str = _OF_A_RUN, *, is_verified: bool = False) -> dict[str, Any]:
    """Open and read a checkpoint; arguments and errors as for ``open_checkpoint`` and ``OpenCheckpoint.read``."""
    with open_checkpoint(path, advice) as opened:
        return opened.read(is_verified=is_verified)


def _unreadable(name: str, error: Exception, advice: str, told: str | None = None) -> WeightsError:
    return WeightsError(f"the checkpoint {name!r} cannot be read: {told or first_line(error)}. {advice}")


@contextlib.contextmanager
def _snapshot(directory: Path) -> Iterator[Path]:
    """Hard-link the files of a directory into a new one next to it; copy them if the file system has no links."""
    scratch.sweep(directory.parent)
    with scratch.scratch(directory.parent, "snapshot") as snapshot:
        shutil.copytree(directory, snapshot, copy_function=_link, dirs_exist_ok=True)
        yield snapshot


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)


def _unpickled(file: Any) -> Any:
    """Read with torch's own safe reader; if it refuses, use inert placeholders for unknown classes."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=False, pickle_module=InertPickle)


def _read_shards(directory: Path) -> dict[str, Any]:
    """Read a checkpoint of ``torch.distributed.checkpoint``, with the weights as the only tensors.

    Lightning writes the rest of the checkpoint to ``meta.pt`` in the same directory.
    """
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = _shard_reader(directory)
    entries = {
        name.removeprefix("state_dict."): torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in reader.read_metadata().state_dict_metadata.items()
        if name.startswith("state_dict.") and isinstance(entry, TensorStorageMetadata)
    }
    content: dict[str, Any] = {"state_dict": entries}
    load(content, storage_reader=reader, no_dist=True)
    extra = directory / "meta.pt"
    if extra.is_file():
        with extra.open("rb") as file:
            content.update({k: v for k, v in _unpickled(file).items() if k != "state_dict"})
    return content


def _shard_reader(directory: Path) -> FileSystemReader:
    """Return a ``FileSystemReader`` that runs no code in the metadata."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import Metadata

    class Reader(FileSystemReader):
        def read_metadata(self, *args: object, **kwargs: object) -> Metadata:
            with (directory / ".metadata").open("rb") as file:
                metadata = InertUnpickler(file).load()
            if not isinstance(metadata, Metadata):
                raise WeightsError(f"{directory.name} contains no metadata of torch.distributed.checkpoint")
            for info in (metadata.storage_data or {}).values():
                if not (directory / info.relative_path).resolve().is_relative_to(directory.resolve()):
                    raise WeightsError(f"its metadata names {info.relative_path!r}, which is outside of it")
            return metadata

    return Reader(directory)
