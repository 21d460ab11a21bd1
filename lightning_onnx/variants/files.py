"""Writes and checks a variant's file, with the metadata of ``model.onnx``; runs in its process, without torch."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from lightning_onnx.errors import first_line
from lightning_onnx.onnxfile import privacy, validity, walk, writer
from lightning_onnx.onnxfile.head import opset_of, read_head
from lightning_onnx.variants.base import MARK


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Change to an empty directory, because converters leave files in the current one."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        try:
            yield Path(directory)
        finally:
            os.chdir(before)


def is_large(model: onnx.ModelProto) -> bool:
    """Return whether the model is too large for one protobuf message, so that its weights need a second file."""
    return sum(_bytes(t) for t in model.graph.initializer) > writer.SINGLE_FILE_BYTES


def save(model: onnx.ModelProto, original: Path, destination: Path) -> None:
    """Write a variant with the original's metadata and the variant's name.

    Args:
        model: A converter's result; it is changed.
        original: ``model.onnx``.
        destination: ``model.<name>.onnx``. Weights of more than 2 GiB are written to ``<destination>.data``.
    """
    head = read_head(original)
    for field in ("producer_name", "producer_version", "domain", "doc_string"):
        setattr(model, field, getattr(head, field))
    model.ir_version = head.ir_version
    name = destination.name.removesuffix(".onnx").partition(".")[2]
    onnx.helper.set_model_props(model, {**{e.key: e.value for e in head.metadata_props}, MARK: name})
    _import_what_is_used(model)
    if is_large(model):
        location = f"{destination.name}.data"
        onnx.save(model, str(destination), save_as_external_data=True, location=location)
    else:
        destination.write_bytes(model.SerializeToString(deterministic=True))


def problems(original: str, variant: str) -> list[str]:
    """Read a variant back, and return its problems: an invalid model, or other inputs, outputs, opset or metadata.

    Args:
        original: Path of ``model.onnx``, to compare with.
        variant: Path of the variant.
    """
    found = []
    try:
        validity.check_model(Path(variant))
    except Exception as error:
        found.append(f"the model is invalid according to onnx ({first_line(error)})")
    was = onnx.load(original, load_external_data=False)
    now = onnx.load(variant, load_external_data=False)
    facts = {
        "inputs": (_specs(was.graph.input), _specs(now.graph.input)),
        "outputs": (_specs(was.graph.output), _specs(now.graph.output)),
        "opset": (opset_of(was), opset_of(now)),
        "IR version": (was.ir_version, now.ir_version),
    }
    found += [f"{what}: {got}, but {Path(original).name} has {wanted}" for what, (wanted, got) in facts.items()
              if wanted != got]  # fmt: skip
    metadata = {e.key: e.value for e in now.metadata_props}
    lost = [e.key for e in was.metadata_props if metadata.get(e.key) != e.value]
    if lost:
        found.append(f"metadata is lost or changed: {lost}")
    known = {private.found for private in privacy.find_private_data(was)}
    added = [private for private in privacy.find_private_data(now) if private.found not in known]
    found += [f"it contains private data: {private.kind} in {private.where}" for private in added]
    return found


def _import_what_is_used(model: onnx.ModelProto) -> None:
    """Remove the opsets of domains without operators, which optimizers leave behind."""
    used = {n.domain for n in walk.nodes(model)} | {f.domain for f in model.functions} | {""}
    kept = sorted((o.domain, o.version) for o in model.opset_import if o.domain in used)
    model.ClearField("opset_import")
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in kept)


def _specs(values: Iterable[onnx.ValueInfoProto]) -> list[tuple[str, str, list[str]]]:
    """Return the name, dtype and dims of each value."""
    return [
        (
            v.name,
            onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type).lower(),
            [d.dim_param or str(d.dim_value) for d in v.type.tensor_type.shape.dim],
        )
        for v in values
    ]


def _bytes(tensor: onnx.TensorProto) -> int:
    return len(tensor.raw_data) or tensor.ByteSize()
