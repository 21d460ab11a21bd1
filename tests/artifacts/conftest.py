from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_onnx import ONNXArtifact

Copy = Callable[..., ONNXArtifact]


@pytest.fixture
def copy(exported: ONNXArtifact) -> Copy:
    """Makes a copy of an artifact; keywords change where its weights come from."""

    def make(directory: Path, **source: object) -> ONNXArtifact:
        shutil.copytree(exported.directory, directory)
        record = exported.record
        values = dataclasses.replace(record, source=dataclasses.replace(record.source, **source)).to_dict()  # type: ignore[arg-type]
        (directory / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
        return ONNXArtifact.load(directory)

    return make
