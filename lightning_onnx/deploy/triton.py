"""A model repository for NVIDIA Triton from an artifact: the model with its configuration, labels and warm-up data."""

from __future__ import annotations

import dataclasses
import re
import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.artifacts.artifact import TEST_DATA, ONNXArtifact
from lightning_onnx.artifacts.data_set import read_data_set
from lightning_onnx.deploy.triton_config import Batching, WarmupInput, batching, config, signature_lines
from lightning_onnx.errors import ArtifactError, ConfigurationError
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.base import Arrays

CONFIG = "config.pbtxt"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class TritonModel:
    """A model in a repository.

    Attributes:
        directory: Its directory.
        version: Its version, a number from 1.
        batching: How Triton joins requests.
        warmed: Whether it has warm-up requests.
    """

    directory: Path
    version: int
    batching: Batching
    warmed: bool


def add_to_repository(
    artifact: ONNXArtifact, repository: Path, name: str | None = None, max_batch_size: int | None = None
) -> TritonModel:
    """Add an artifact to a model repository, as a new model or as a new version of one.

    Args:
        artifact: The artifact.
        repository: The directory that Triton serves; it is made if it is missing.
        name: Name of the model; default: the class of the module, in small letters.
        max_batch_size: The largest batch that Triton may make of requests; 0 for none. Default: the largest batch of
            the run, if the batch is the first dim of every input and output.

    Raises:
        ConfigurationError: If the name is invalid, Triton does not know a dtype, or the model is there with other
            inputs and outputs.
        ArtifactError: If the repository cannot be written.
    """
    record = artifact.record
    name = name if name is not None else _default_name(artifact)
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no name for a model in Triton. Use letters, digits, '_', '-' and '.'.")
    joined = batching(record, max_batch_size)
    model = repository / name
    names = _class_names(artifact)
    labels = {output: f"labels_{i}.txt" for i, output in enumerate(names)}
    lines = signature_lines(record.signature, joined, labels)
    _check_same(model, lines)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        # Not in the repository, of which Triton takes every directory for a model.
        with tempfile.TemporaryDirectory(prefix=".onnx-triton-", dir=repository.resolve().parent) as hidden:
            staged = Path(hidden, name)
            version = _next_version(model)
            (staged / str(version)).mkdir(parents=True)
            for file in _model_files(artifact):
                shutil.copyfile(artifact.directory / file, staged / str(version) / file)
            warmup = _write_warmup(artifact, joined, staged / "warmup")
            for output, file in labels.items():
                (staged / file).write_text("".join(f"{name}\n" for name in names[output]), encoding="utf-8")
            (staged / CONFIG).write_text(config(name, record, joined, labels, warmup), encoding="utf-8")
            _put(staged, model, version)
    except OSError as error:
        raise ArtifactError(f"{repository} cannot be written: {error}. Choose another directory.") from error
    return TritonModel(model, version, joined, bool(warmup))


def _class_names(artifact: ONNXArtifact) -> dict[str, tuple[str, ...]]:
    """Return the class names of each output whose rows have an element for each class, as Triton looks them up."""
    contract = artifact.record.contract
    rows = {spec.name: spec.shape[1] for spec in artifact.signature.outputs if len(spec.shape) == 2}
    found = {} if contract is None else contract.outputs
    return {
        name: tuple(" ".join(label.split()) for label in output.labels)  # one label a line
        for name, output in found.items()
        if output.kind != "indices" and rows.get(name) == len(output.labels)
    }


def _default_name(artifact: ONNXArtifact) -> str:
    name = artifact.record.source.module or artifact.name
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.").lower() or "model"


def _model_files(artifact: ONNXArtifact) -> list[str]:
    """Return the model, and the weights beside it in files of their own."""
    model = artifact.record.model.file
    return [file for file in artifact.record.files if file == model or file.startswith(f"{model}.data")]


def _check_same(model: Path, lines: list[str]) -> None:
    place = model / CONFIG
    if not model.exists():
        return
    known = place.read_text(encoding="utf-8") if place.is_file() else ""
    if "\n".join(lines) not in known:
        raise ConfigurationError(
            f"{model} has other inputs or outputs, on which clients rely. Choose another name, or remove it."
        )


def _next_version(model: Path) -> int:
    versions = [int(path.name) for path in model.iterdir() if path.name.isdecimal()] if model.is_dir() else []
    return max(versions, default=0) + 1


def _put(staged: Path, model: Path, version: int) -> None:
    """Move a new model into the repository, or only its version, which comes last."""
    if not model.exists():
        staged.rename(model)
        return
    for file in staged.rglob("*"):
        place = model / file.relative_to(staged)
        if file.is_file() and file.parent.name != str(version):
            place.parent.mkdir(exist_ok=True)
            file.replace(place)
    (staged / str(version)).rename(model / str(version))


def _write_warmup(artifact: ONNXArtifact, joined: Batching, directory: Path) -> list[WarmupInput]:
    """Write the test data's first row, of which Triton makes a batch, or all of it if it makes none."""
    data = artifact.directory / TEST_DATA
    if not data.is_dir():
        return []
    inputs: Arrays = read_data_set(data, ModelSpecs.read(artifact.model_path)).inputs
    directory.mkdir()
    found = []
    for i, (spec, array) in enumerate(zip(artifact.signature.inputs, inputs.values(), strict=True)):
        row = array[0] if joined.max_size else array
        (directory / f"input_{i}").write_bytes(_raw(row))
        found.append(WarmupInput(spec.name, spec.dtype, row.shape, f"input_{i}"))
    return found


def _raw(array: NDArray[np.generic]) -> bytes:
    """Return an array's values as Triton reads them: each string has its length before it."""
    if array.dtype != object and array.dtype.kind not in "US":
        return np.ascontiguousarray(array).tobytes()
    texts = [text if isinstance(text, bytes) else str(text).encode() for text in array.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
