"""``index.json`` next to the artifacts: a list for other programs, which names the best one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.artifacts.remote import read_json, write
from lightning_onnx.errors import ArtifactError
from lightning_onnx.manifest.fields import Fields

INDEX = "index.json"


@dataclasses.dataclass(frozen=True)
class IndexEntry:
    """The entry of one artifact; the fields have the order of the JSON.

    Attributes:
        directory: Name of the artifact's directory.
        best: Whether it is the best artifact of its owner.
        passed: Whether none of its checks failed.
        checkpoint: File name of the exported checkpoint; None for live weights.
        epoch: Epoch of the weights, counted from 0.
        global_step: Number of optimizer steps before these weights.
        monitor: Name of the metric that selected the checkpoint.
        score: Value of that metric.
        owner: Identifies the callback of one run, because several may share the directory; empty if unknown.
    """

    directory: str
    best: bool
    passed: bool
    checkpoint: str | None
    epoch: int | None
    global_step: int | None
    monitor: str | None
    score: float | None
    owner: str

    @classmethod
    def of(cls, artifact: ONNXArtifact, *, is_best: bool, owner: str) -> IndexEntry:
        """Return the entry of an artifact."""
        source = artifact.record.source
        return cls(
            directory=artifact.name,
            best=is_best,
            passed=artifact.passed,
            checkpoint=source.checkpoint,
            epoch=source.epoch,
            global_step=source.global_step,
            monitor=source.monitor,
            score=source.score,
            owner=owner,
        )

    @classmethod
    def read(cls, fields: Fields) -> IndexEntry:
        """Read the entry from its JSON."""
        return cls(
            directory=fields.required("directory", str),
            best=fields.required("best", bool),
            passed=fields.required("passed", bool),
            checkpoint=fields.optional("checkpoint", str),
            epoch=fields.optional("epoch", int),
            global_step=fields.optional("global_step", int),
            monitor=fields.optional("monitor", str),
            score=fields.optional("score", float),
            owner=fields.required("owner", str),
        )


def read_index(place: str) -> list[IndexEntry]:
    """Return the entries of an index; an empty list if it does not exist or cannot be read.

    An entry that cannot be read is left out: those of other runs do not depend on it.

    Args:
        place: Path or URL of the file.
    """
    try:
        values = Fields(read_json(place)).items("artifacts", dict)
    except (OSError, ValueError, ArtifactError):
        return []
    entries = []
    for value in values:
        with contextlib.suppress(ArtifactError):
            entries.append(IndexEntry.read(Fields(value)))
    return entries


def write_index(place: str, entries: Iterable[IndexEntry]) -> None:
    """Write an index.

    Args:
        place: Path or URL of the file.
        entries: The entries.

    Raises:
        OSError: If the index cannot be written.
    """
    content = {"artifacts": [dataclasses.asdict(entry) for entry in entries]}
    write(place, (json.dumps(content, indent=2) + "\n").encode())
