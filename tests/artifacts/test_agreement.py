"""What stands in the manifest and in the model file is compared."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from lightning_onnx import ArtifactError, ONNXArtifact
from lightning_onnx.artifacts.agreement import check_agreement

GOLDEN = Path(__file__).parents[1] / "golden/0.1.0/artifact"
NAMES = ("cat", "dog", "owl")
CONTRACT = {"inputs": {}, "outputs": {"logits": {"labels": list(NAMES), "kind": "scores", "axis": 1}}}


def _named(artifact: ONNXArtifact, directory: Path, names: object, **changes: Any) -> ONNXArtifact:
    """Return a copy whose model has class names in its metadata."""
    shutil.copytree(artifact.directory, directory)
    path = directory / "model.onnx"
    model = onnx.load(str(path))
    model.metadata_props.add(key="names", value=str(names))
    path.write_bytes(model.SerializeToString())
    return ONNXArtifact(directory, {**artifact.manifest, "contract": CONTRACT, **changes})


@pytest.fixture(scope="module")
def golden() -> ONNXArtifact:
    """An artifact of format 1."""
    artifact = ONNXArtifact.load(GOLDEN)
    check_agreement(artifact)
    return artifact


def _set(*keys: str | int) -> Callable[[dict[str, Any], Any], None]:
    def change(manifest: dict[str, Any], value: Any) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "value", "said"),
    [
        (_set("model", "opset"), 11, r"the opset is 11 in the manifest, \d\d in the file"),
        (_set("model", "ir_version"), 3, r"the IR version is 3 in the manifest, \d+ in the file"),
        (_set("inputs", 0, "name"), "pixels", r"the inputs are pixels in the manifest, \w+ in the file"),
        (_set("inputs", 0, "dtype"), "uint8", r"the inputs are \w+: uint8\[.* in the manifest, \w+: float32\["),
        (_set("outputs", 0, "shape"), ["batch", 1000], r"the outputs are .*\[batch, 1000\] in the manifest, "),
        (_set("outputs", 0, "shape"), [], r"the outputs are .*\[\] in the manifest, .*\[batch"),
        (_set("outputs"), [], r"the outputs are  in the manifest, \w+ in the file"),
    ],
)
def test_a_changed_manifest_is_found(golden: ONNXArtifact, change: Any, value: object, said: str) -> None:
    manifest = copy.deepcopy(golden.manifest)
    change(manifest, value)
    with pytest.raises(ArtifactError, match=said):
        check_agreement(ONNXArtifact(golden.directory, manifest))


def test_class_names(golden: ONNXArtifact, tmp_path: Path) -> None:
    check_agreement(_named(golden, tmp_path / "same", dict(enumerate(NAMES))))
    other = dict(enumerate(("bat", "dog", "owl")))
    with pytest.raises(ArtifactError, match=r"the class names are .*'cat'.* in the manifest, .*'bat'.* in the file"):
        check_agreement(_named(golden, tmp_path / "other", other))
    check_agreement(_named(golden, tmp_path / "own", other, metadata={"names": str(other)}))  # the user's own entry


def test_what_the_file_does_not_say_is_not_compared(golden: ONNXArtifact, tmp_path: Path) -> None:
    artifact = _named(golden, tmp_path / "bare", dict(enumerate(NAMES)))
    model = onnx.load(str(artifact.model_path))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    model.graph.output[0].type.tensor_type.shape.dim[0].Clear()
    artifact.model_path.write_bytes(model.SerializeToString())
    check_agreement(artifact)
    artifact.model_path.write_bytes(b"no model at all")
    with pytest.raises(ArtifactError, match=r"is not an ONNX model \(InputError\)"):
        check_agreement(artifact)
