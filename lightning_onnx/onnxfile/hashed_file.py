"""A file whose SHA-256 is computed while it is written, in a second thread: hashing takes as long as writing."""

from __future__ import annotations

import dataclasses
import hashlib
import queue
import threading
from pathlib import Path
from types import TracebackType

_BLOCKS_BEHIND = 4
"""Blocks that may wait for the second thread; a folded weight is in memory until it has been hashed."""

_SMALL = 2**20
"""A file of fewer bytes is hashed at once: a thread would cost more than it saves."""


@dataclasses.dataclass(frozen=True)
class WrittenFile:
    """What was written to a file.

    Attributes:
        sha256: SHA-256 of the content in hexadecimal.
        bytes: Size in bytes.
    """

    sha256: str
    bytes: int


class HashedFile:
    """A new file, as a context manager. The bytes of a block may not change before the block ends.

    Args:
        path: The file; what is there is overwritten.

    Attributes:
        size: Bytes written so far.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as d, HashedFile(Path(d) / "a") as file:
        ...     file.write(b"abc")
        >>> file.written.bytes, file.written.sha256[:8]
        (3, 'ba7816bf')
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._digest = hashlib.sha256()
        self._blocks: queue.Queue[bytes | memoryview | None] = queue.Queue(_BLOCKS_BEHIND)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._file = path.open("wb")

    def write(self, block: bytes | memoryview) -> None:
        """Append bytes; an error of the second thread is raised at the end of the block.

        Raises:
            OSError: If the file cannot be written.
        """
        self.size += len(block)
        if self._thread is None and self.size > _SMALL:
            self._thread = self._started()
        if self._thread is None:
            self._digest.update(block)
        else:
            self._blocks.put(block)
        self._file.write(block)

    @property
    def written(self) -> WrittenFile:
        """The digest and the size, once the file is closed."""
        return WrittenFile(self._digest.hexdigest(), self.size)

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file, and wait for the digest.

        Raises:
            BaseException: What the second thread raised, unless the block raised an error itself.
        """
        try:
            self._file.close()
        finally:
            if self._thread is not None:
                self._blocks.put(None)
                self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _started(self) -> threading.Thread | None:
        """Return the second thread; None if the system allows no further one."""
        thread = threading.Thread(target=self._hash, name="lightning-onnx-sha256", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return None
        return thread

    def _hash(self) -> None:
        """Hash blocks up to the end; after an error they are only taken, or the first thread would wait for ever."""
        while (block := self._blocks.get()) is not None:
            if self._error is None:
                try:
                    self._digest.update(block)
                except BaseException as error:
                    self._error = error
