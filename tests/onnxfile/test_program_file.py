"""What a ``.pt2`` file says of itself, without torch."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from lightning_onnx.errors import InputError
from lightning_onnx.onnxfile.program_file import MEMBER, description, private_texts, read_metadata, read_specs
from lightning_onnx.onnxfile.specs import ModelSpecs, ValueSpec

SPECS = ModelSpecs(
    (ValueSpec("image", "float32", ("batch", 3, None)), ValueSpec("size", "int64", (), True)),
    (ValueSpec("logits", "float32", None),),
)


def written(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_inputs_outputs_and_metadata_are_read_back(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt2", **{f"a/extra/{MEMBER}": description(SPECS, {"epoch": "2"})})
    assert read_specs(path) == ModelSpecs.read(path) == SPECS
    assert read_metadata(path) == {"epoch": "2"}
    assert private_texts(path) == []


def test_private_texts_are_found(tmp_path: Path) -> None:
    trace = 'File "/home/somebody/train.py", line 7, in forward\n    return self.net(x)'
    path = written(tmp_path / "a.pt2", **{"a/models/model.json": json.dumps({"nodes": [{"metadata": {"t": trace}}]})})
    assert 'File "/home/somebody/train.py", line 7' in private_texts(path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "was not saved by this package"),
        ({f"a/extra/{MEMBER}": "{}"}, "lacks inputs or outputs"),
        ({f"a/extra/{MEMBER}": "[1"}, "is no .pt2 file"),
    ],
)
def test_invalid_files(members: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_specs(written(tmp_path / "a.pt2", **members))
    (tmp_path / "b.pt2").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"is no \.pt2 file"):
        read_specs(tmp_path / "b.pt2")
