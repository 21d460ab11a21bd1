"""Compares what stands both in the manifest and in the model file.

The manifest has the digests of all other files, and nothing has its own: this finds a manifest that was edited, or that
belongs to another model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lightning_onnx.errors import ArtifactError
from lightning_onnx.onnxfile.specs import ModelSpecs, ValueSpec

if TYPE_CHECKING:
    from pathlib import Path

    from lightning_onnx.artifacts.artifact import ONNXArtifact
    from lightning_onnx.manifest.manifest import Manifest
    from lightning_onnx.module.calls.signature import TensorSpec

_NAMES = "names"
"""The model's metadata entry that holds the class names."""


def check_agreement(artifact: ONNXArtifact) -> None:
    """Compare the manifest with the model file: opset, IR version, inputs, outputs and class names of each method.

    Args:
        artifact: The artifact; the model is read without its weights.

    Raises:
        ArtifactError: If the two differ, or the file is not an ONNX model.
    """
    for method in artifact.methods:
        own = artifact.method(method)
        try:
            pairs = list(_pairs(own.record, own.model_path))
        except Exception as error:  # protobuf's are not public
            raise ArtifactError(
                f"{own.model_path} is not an ONNX model ({type(error).__name__}). Export again, or copy the directory "
                "as a whole."
            ) from error
        for what, expected, found in pairs:
            if expected != found:
                raise ArtifactError(
                    f"{artifact.directory}: the manifest and {own.model_path.name} differ: {what} {expected} in the "
                    f"manifest, {found} in the file. One of them was changed or replaced. Export again, or copy the "
                    "directory as a whole."
                )


def _pairs(record: Manifest, path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield what is compared, in the manifest and in the file, as text."""
    from lightning_onnx.onnxfile.head import opset_of, read_head

    head, specs = read_head(path), ModelSpecs.read(path)
    yield "the opset is", str(record.model.opset), str(opset_of(head))
    yield "the IR version is", str(record.model.ir_version), str(head.ir_version)
    required = tuple(spec for spec in specs.inputs if not spec.optional)
    for kind, expected, found in (
        ("inputs", record.signature.inputs, required),
        ("outputs", record.signature.outputs, specs.outputs),
    ):
        yield f"the {kind} are", _joined(spec.name for spec in expected), _joined(spec.name for spec in found)
        for one, other in zip(expected, found, strict=False):
            yield f"the {kind} are", str(one), str(_completed(other, one))
    labels = () if record.contract is None else record.contract.labels
    names = next((entry.value for entry in head.metadata_props if entry.key == _NAMES), None)
    if labels and names is not None and _NAMES not in record.metadata:  # an entry of the user's replaces the names
        yield "the class names are", str(dict(enumerate(labels))), names


def _completed(found: ValueSpec, expected: TensorSpec) -> TensorSpec:
    """Return what a file says of a value; where it says nothing, what the manifest says."""
    dims = expected.shape if found.shape is None else found.shape
    usual = (*expected.shape, *("?" for _ in dims[len(expected.shape) :]))
    shape = tuple(other if dim is None else dim for dim, other in zip(dims, usual, strict=False))
    return type(expected)(found.name, found.dtype or expected.dtype, shape)


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names)
