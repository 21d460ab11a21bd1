"""One file of weights for several models of a directory, in which equal values are stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from lightning_onnx.onnxfile.hashed_file import HashedFile, WrittenFile

SHARED = "weights.data"
"""Name of the file."""

SMALLEST = 1024
"""Values of fewer bytes stay in the models, where shape inference needs some of them."""

ALIGNMENT = 4096
"""Alignment of weights outside a model, in bytes: the size of a page, so that runtimes can map them into memory."""


class SharedWeights:
    """A new file of weights, as a context manager.

    Args:
        directory: The directory of the models.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as d, SharedWeights(Path(d)) as shared:
        ...     shared.place(memoryview(b"abc")), shared.place(memoryview(b"de")), shared.place(memoryview(b"abc"))
        (0, 4096, 0)
    """

    def __init__(self, directory: Path) -> None:
        self._file = HashedFile(directory / SHARED)
        self._places: dict[bytes, int] = {}

    def place(self, values: memoryview) -> int:
        """Return where values are in the file, in bytes from its start; they are appended if they are not in it."""
        digest = hashlib.sha256(values).digest()
        if digest not in self._places:
            self._file.write(bytes(-self._file.size % ALIGNMENT))
            self._places[digest] = self._file.size
            self._file.write(values)
        return self._places[digest]

    @property
    def written(self) -> WrittenFile:
        """The digest and the size, once the file is closed."""
        return self._file.written

    def __enter__(self) -> SharedWeights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.__exit__(kind, error, traceback)


def size_of(model: Path) -> int:
    """Return the size of a model in bytes, with its weights in files beside it; of a shared file, what it uses.

    Args:
        model: The ONNX file.
    """
    own = sum(file.stat().st_size for file in model.parent.glob(f"{model.name}*"))
    return own + sum(dict(_shared_by(model)).values())


def _shared_by(model: Path) -> Iterator[tuple[int, int]]:
    """Yield the place and the length of each of a model's weights in the shared file."""
    if not (model.parent / SHARED).is_file():
        return
    import onnx

    for tensor in onnx.load(str(model), load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries.get("location") == SHARED:
            yield int(entries["offset"]), int(entries["length"])
