"""What a fit left behind, for the process that asked for it: with ``ddp_spawn`` another one did the work."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.artifacts.store import Store
from lightning_onnx.training.exporter import Exporter


class Outcome:
    """The artifacts and failures of the last fit.

    A strategy that spawns gives the main process none of what a callback learned. So the process that worked leaves a
    note in a file whose name both know, and the artifacts are read from disk.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._note = Path(tempfile.gettempdir()) / f"lightning-onnx-{uuid.uuid4().hex}.json"
        self._exporter: Exporter | None = None
        self._read: dict[str, Any] | None = None
        self._store: Store | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Travel without what belongs to one process."""
        return {**self.__dict__, "_exporter": None}

    def clear(self) -> None:
        """Forget the last fit."""
        self._exporter = self._read = None
        self._note.unlink(missing_ok=True)

    def follow(self, exporter: Exporter) -> None:
        """Tell of this exporter's artifacts from now on."""
        self._exporter = exporter

    def hand_over(self) -> None:
        """Leave the note, in another process than the one that made the callback."""
        if os.getpid() == self._owner or self._exporter is None:
            return
        best, store = self._exporter.artifact, self._exporter.store
        content = {
            "dirpath": store.url or str(store.local),
            "artifact": None if best is None else best.name,
            "artifacts": [a.name for a in store.artifacts.values()],
            "failures": self._exporter.failures,
        }
        self._note.write_text(json.dumps(content), encoding="utf-8")

    @property
    def artifact(self) -> ONNXArtifact | None:
        """The best, else the newest artifact."""
        if self._exporter is not None:
            return self._exporter.artifact
        return self._handed_over()["artifact"]  # type: ignore[no-any-return]

    @property
    def artifacts(self) -> list[ONNXArtifact]:
        """All that are kept, oldest first."""
        if self._exporter is not None:
            return [a for a in self._exporter.store.artifacts.values() if a.directory.is_dir()]
        return list(self._handed_over()["artifacts"])

    @property
    def failures(self) -> list[str]:
        """What went wrong."""
        if self._exporter is not None:
            return self._exporter.failures
        return list(self._handed_over()["failures"])

    def _handed_over(self) -> dict[str, Any]:
        if self._read is None and os.getpid() == self._owner:
            with contextlib.suppress(OSError, ValueError):
                content = json.loads(self._note.read_text(encoding="utf-8"))
                self._note.unlink()
                self._read = {**content, **self._adopted(content)}
        return self._read or {"artifact": None, "artifacts": [], "failures": []}

    def _adopted(self, content: dict[str, Any]) -> dict[str, Any]:
        """Read the artifacts from where they lie; those at a URL have their copy in the store, which is kept for it."""
        self._store = Store(content["dirpath"], owner="")
        found = {name: self._store.adopt(name, name) for name in {*content["artifacts"], content["artifact"]} if name}
        artifacts = [found[name] for name in content["artifacts"]]
        return {"artifact": found.get(content["artifact"]), "artifacts": [a for a in artifacts if a is not None]}
