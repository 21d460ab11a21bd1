"""The result of a fit for the process that started it: with ``ddp_spawn``, another process does the work."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.artifacts.store import Store
from lightning_onnx.training.exporter import Exporter


@dataclasses.dataclass(frozen=True)
class _Note:
    """The message from the working process to the one that made the callback, as JSON.

    Attributes:
        dirpath: Path or URL of the artifacts.
        artifact: Name of the best artifact, or else the newest; None if there is none.
        artifacts: Names of all kept artifacts, oldest first.
        failures: One sentence for each failure.
    """

    dirpath: str
    artifact: str | None
    artifacts: list[str]
    failures: list[str]


@dataclasses.dataclass(frozen=True)
class _Results:
    """The same with the artifacts read from disk, and the store with the local copies of remote ones."""

    artifact: ONNXArtifact | None = None
    artifacts: tuple[ONNXArtifact, ...] = ()
    failures: tuple[str, ...] = ()
    store: Store | None = None


class FitResult:
    """The artifacts and failures of the last fit.

    A strategy that spawns processes does not return the callback's state to the main process. So the working process
    writes a note to a file whose name both know, and the main process reads the artifacts from disk.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._path = Path(tempfile.gettempdir()) / f"lightning-onnx-{uuid.uuid4().hex}.json"
        self._exporter: Exporter | None = None
        self._kept = _Results()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the fields that belong to one process, and keep what they say of the last fit."""
        if self._exporter is None:
            return self.__dict__
        results = _Results(self.artifact, tuple(self.artifacts), tuple(self.failures))
        return {**self.__dict__, "_exporter": None, "_kept": results}

    def clear(self) -> None:
        """Forget the last fit."""
        self._exporter, self._kept = None, _Results()
        self._path.unlink(missing_ok=True)

    def follow(self, exporter: Exporter) -> None:
        """Use the results of this exporter from now on."""
        self._exporter = exporter

    def hand_over(self) -> None:
        """Write the note, unless this process made the callback."""
        if os.getpid() == self._owner or self._exporter is None:
            return
        best, store = self._exporter.artifact, self._exporter.store
        note = _Note(
            dirpath=store.url or str(store.local),
            artifact=None if best is None else best.name,
            artifacts=[a.name for a in store.artifacts.values()],
            failures=self._exporter.log.failures,
        )
        self._path.write_text(json.dumps(dataclasses.asdict(note)), encoding="utf-8")

    @property
    def artifact(self) -> ONNXArtifact | None:
        """The best artifact, or the newest if no checkpoint is the best; None if its directory was removed."""
        self._receive()
        artifact = self._kept.artifact if self._exporter is None else self._exporter.artifact
        return artifact if artifact is not None and artifact.directory.is_dir() else None

    @property
    def artifacts(self) -> list[ONNXArtifact]:
        """All kept artifacts, oldest first."""
        self._receive()
        if self._exporter is not None:
            return [a for a in self._exporter.store.artifacts.values() if a.directory.is_dir()]
        return list(self._kept.artifacts)

    @property
    def failures(self) -> list[str]:
        """One sentence for each failure."""
        self._receive()
        return list(self._kept.failures) if self._exporter is None else self._exporter.log.failures

    def _receive(self) -> None:
        """Take the results that another process has left since: those of a later fit replace earlier ones."""
        if os.getpid() == self._owner:
            with contextlib.suppress(OSError, ValueError):
                note = _Note(**json.loads(self._path.read_text(encoding="utf-8")))
                self._path.unlink()
                self._exporter, self._kept = None, _read(note)


def _read(note: _Note) -> _Results:
    """Read the artifacts from their directory."""
    store = Store(note.dirpath)
    found = {name: store.adopt(name, name) for name in {*note.artifacts, note.artifact} if name}
    artifacts = tuple(a for a in (found[name] for name in note.artifacts) if a is not None)
    return _Results(found.get(note.artifact or ""), artifacts, tuple(note.failures), store)
