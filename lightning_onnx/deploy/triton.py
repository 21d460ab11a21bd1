"""A model repository for NVIDIA Triton from an artifact: the model with its configuration, labels and warm-up data."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import filecmp
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_onnx import scratch
from lightning_onnx.artifacts.artifact import MODEL, ONNXArtifact
from lightning_onnx.artifacts.data_set import read_data_set
from lightning_onnx.artifacts.foreign import weights_beside
from lightning_onnx.deploy.triton_config import (
    Batching,
    WarmupInput,
    batching,
    config,
    signature_lines,
    signature_lines_in,
)
from lightning_onnx.errors import ArtifactError, ConfigurationError
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.base import Arrays

CONFIG = "config.pbtxt"
_ELSEWHERE = (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
"""A repository may be a mounted disk: then the directory above it is on another one, and often not writable."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class TritonModel:
    """A model in a repository.

    Attributes:
        directory: Its directory.
        version: Its version, a number from 1.
        batching: How Triton joins requests.
        warmed: Whether it has warm-up requests.
        is_new: Whether the version was added; False if the newest version had the same files.
    """

    directory: Path
    version: int
    batching: Batching
    warmed: bool
    is_new: bool


def add_to_repository(
    artifact: ONNXArtifact, repository: Path, name: str | None = None, max_batch_size: int | None = None
) -> TritonModel:
    """Add an artifact to a model repository, as a new model or as a new version of one.

    If the newest version has the same files, there is no new one; the configuration is written all the same.

    Args:
        artifact: The artifact.
        repository: The directory that Triton serves; it is made if it is missing.
        name: Name of the model; default: the class of the module, in small letters.
        max_batch_size: The largest batch that Triton may make of requests; 0 for none. Default: the largest batch of
            the training, or of the sample if there was none; 0 unless the batch is the first dim of every input and
            output.

    Raises:
        ConfigurationError: If the name is invalid, Triton does not know a dtype, or the model is there with other
            inputs or outputs, or with batching where there would be none now, or the reverse.
        ArtifactError: If the repository cannot be written.
    """
    record = artifact.record
    if record.methods:
        raise ConfigurationError(
            f"{artifact.directory} has the methods {', '.join(artifact.methods)}, each of them a model of its own in "
            f"Triton. Add one after the other: artifact.method({artifact.methods[0]!r})."
        )
    name = name if name is not None else _default_name(artifact)
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is not a valid name for a model in Triton. Use letters, digits, '_', '-' and '.'."
        )
    joined = batching(record, max_batch_size)
    model = repository / name
    _check_same(model, record.signature, joined)
    try:
        repository.mkdir(parents=True, exist_ok=True)
        if model.exists():
            return _add(artifact, model, joined, model)
        try:
            return _add(artifact, model, joined, repository.resolve().parent)
        except OSError as error:
            if error.errno not in _ELSEWHERE:
                raise
            return _add(artifact, model, joined, model)
    except OSError as error:
        raise ArtifactError(f"{repository} cannot be written: {error}. Choose another directory.") from error


def _add(artifact: ONNXArtifact, model: Path, joined: Batching, place: Path) -> TritonModel:
    """Write the files into a hidden directory of a place on the same disk, and move them into the model's."""
    names = _class_names(artifact)
    labels = {output: f"labels_{i}.txt" for i, output in enumerate(names)}
    with _hidden_in(place) as hidden:
        staged = hidden / model.name
        newest = _newest_version(model)
        is_new = not _holds(model / str(newest), artifact)
        version = newest + is_new
        staged.mkdir()
        if is_new:
            (staged / str(version)).mkdir()
            for file in _model_files(artifact):
                shutil.copyfile(artifact.directory / file, staged / str(version) / file)
        warmup = _write_warmup(artifact, joined, staged / "warmup")
        for output, file in labels.items():
            (staged / file).write_text("".join(f"{name}\n" for name in names[output]), encoding="utf-8")
        content = config(model.name, artifact.record, joined, labels, warmup)
        (staged / CONFIG).write_text(content, encoding="utf-8")
        _put(staged, model, str(version))
    return TritonModel(model, version, joined, bool(warmup), is_new)


@contextlib.contextmanager
def _hidden_in(place: Path) -> Iterator[Path]:
    """Make a hidden directory; the place goes with it if nothing else is there.

    The place is never the repository, of which Triton takes every directory for a model. In a model's directory, it
    passes over those whose names are not numbers.
    """
    place.mkdir(exist_ok=True)
    try:
        scratch.sweep(place)
        with scratch.scratch(place, "staging") as hidden:
            yield hidden
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            place.rmdir()


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
    source = artifact.record.source
    name = source.module or artifact.name
    if artifact.record.model.file != MODEL:  # one of several methods
        name = f"{name}-{source.method}"
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.").lower() or "model"


def _model_files(artifact: ONNXArtifact) -> list[str]:
    """Return the model, and the files beside it that have its weights."""
    model, beside = artifact.record.model.file, weights_beside(artifact.model_path)
    return [f for f in artifact.record.files if f == model or f.startswith(f"{model}.data") or f in beside]


def _check_same(model: Path, signature: Signature, joined: Batching) -> None:
    """Raise if a model is there that clients call in another way."""
    place = model / CONFIG
    if not model.exists() or (model.is_dir() and all(path.name.startswith(".") for path in model.iterdir())):
        return
    known = signature_lines_in(place.read_text(encoding="utf-8")) if place.is_file() else []
    if known == signature_lines(signature, joined):
        return
    other = dataclasses.replace(joined, max_size=0 if joined.max_size else 1)
    if known == signature_lines(signature, other):
        now, turned = ("off", "on") if joined.max_size else ("on", "off")
        raise ConfigurationError(
            f"batching is {now} in {model}. Turning it {turned} changes the dims that clients see. Add the artifact "
            "under another name (--name), or remove the model."
        )
    raise ConfigurationError(
        f"{model} has other inputs or outputs, on which clients rely. Choose another name (--name), or remove it."
    )


def _newest_version(model: Path) -> int:
    versions = [int(path.name) for path in model.iterdir() if path.name.isdecimal()] if model.is_dir() else []
    return max(versions, default=0)


def _holds(version: Path, artifact: ONNXArtifact) -> bool:
    """Tell whether a version has exactly the model files of an artifact."""
    files = _model_files(artifact)
    if not version.is_dir() or {path.name for path in version.iterdir()} != set(files):
        return False
    return all(filecmp.cmp(artifact.directory / file, version / file, shallow=False) for file in files)


def _put(staged: Path, model: Path, version: str) -> None:
    """Move a new model into the repository, or only its new files; the version, if it is new, comes last."""
    if not model.exists():
        staged.rename(model)
        return
    for file in staged.rglob("*"):
        place = model / file.relative_to(staged)
        if file.is_file() and file.parent != staged / version:
            place.parent.mkdir(exist_ok=True)
            file.replace(place)
    if (staged / version).exists():
        (staged / version).rename(model / version)


def _write_warmup(artifact: ONNXArtifact, joined: Batching, directory: Path) -> list[WarmupInput]:
    """Write the test data's first row, of which Triton makes a batch, or all of it if it makes none."""
    data = artifact.test_data
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
