"""The index of a directory that several runs write at the same time, on any file system.

It is made from the directories that are there. What they do not tell, which run owns an artifact and whether it is the
best, each run knows of its own ones, and takes from the present index for those of others. Where there are locks, one
process writes at a time. Where there are none (object stores, NFS), each one looks after writing whether its entries
are there, and writes again if not.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_onnx.artifacts.index import IndexEntry, read_index, write_index
from lightning_onnx.scratch import locked

TRIES = 10


@dataclasses.dataclass(frozen=True)
class SharedIndex:
    """The index of one directory, as one run writes it.

    Attributes:
        place: Path or URL of the index.
        owner: The run.
        names: Returns the names of all artifacts in the directory.
        unknown: Returns the entry of an artifact that the present index does not have; None if it cannot be read.
    """

    place: str
    owner: str
    names: Callable[[], list[str]]
    unknown: Callable[[str], IndexEntry | None]

    def write(self, own: Sequence[IndexEntry], *, unless_right: bool = False) -> None:
        """Write the entries of this run, and keep those of others.

        Args:
            own: The entries of this run.
            unless_right: Whether to write nothing if the index has these entries.

        Raises:
            OSError: If the index cannot be written.
            ArtifactError: If the directory cannot be written.
        """
        with contextlib.nullcontext() if "://" in self.place else locked(Path(self.place).parent):
            for _ in range(TRIES):
                if unless_right and self._has(own):
                    return
                write_index(self.place, self._merged(own))
                unless_right = True

    def _has(self, own: Sequence[IndexEntry]) -> bool:
        """Tell whether the index has the entries of this run, and one for each directory."""
        found, names = read_index(self.place), set(self.names())
        is_best_elsewhere = any(e.best and e.owner == self.owner for e in found if e not in own)
        has_own = all(entry in found for entry in own if entry.directory in names)
        missing = names - {entry.directory for entry in found}
        return has_own and not is_best_elsewhere and not any(map(self.unknown, missing))

    def _merged(self, own: Sequence[IndexEntry]) -> list[IndexEntry]:
        """Return the entries of others, oldest first, and those of this run."""
        present = set(self.names())
        mine = {entry.directory: entry for entry in own if entry.directory in present}
        found = {entry.directory: entry for entry in read_index(self.place)}
        others = [self._with_one_best(e) for e in found.values() if e.directory in present - mine.keys()]
        unknown = map(self.unknown, sorted(present - mine.keys() - found.keys()))
        return [*others, *(entry for entry in unknown if entry is not None), *mine.values()]

    def _with_one_best(self, entry: IndexEntry) -> IndexEntry:
        """Return an entry that this run does not write; of what an earlier part of it left, none is the best."""
        return dataclasses.replace(entry, best=False) if entry.owner == self.owner else entry
