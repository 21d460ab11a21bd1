"""The ``config.pbtxt`` of a model in Triton: types and dims, batching, labels and warm-up, from a manifest."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.calls.signature import Signature, TensorSpec

_TYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
    "bfloat16": "BF16", "string": "STRING",
}  # fmt: skip
"""Triton's names of the dtypes."""

_LABELS = "label_filename"

_DEFAULT_BATCH = 8
"""``max_batch_size`` if the manifest does not say which batches the run had."""


@dataclasses.dataclass(frozen=True)
class Batching:
    """How Triton may join requests.

    Attributes:
        max_size: The largest batch; 0 if Triton must pass requests on as they are.
        usual: The usual batch of the run, 1 without batches.
        reason: Why requests are not joined; None if they are.
        is_of_sample: Whether ``max_size`` is only the batch of the sample, because no other batch is known.
    """

    max_size: int
    usual: int = 1
    reason: str | None = None
    is_of_sample: bool = False


@dataclasses.dataclass(frozen=True)
class WarmupInput:
    """One input of a warm-up request.

    Attributes:
        name: Name of the input.
        dtype: Its dtype as numpy names it.
        dims: Its shape, without the batch dim where Triton adds one.
        file: Name of the file in the directory ``warmup`` with its raw values.
    """

    name: str
    dtype: str
    dims: tuple[int, ...]
    file: str


def batching(manifest: Manifest, most: int | None = None) -> Batching:
    """Return how requests can be joined: only if the batch is the first dim of every input and output.

    Args:
        manifest: The artifact's manifest.
        most: The largest batch to allow; default: the largest that the manifest knows.

    Raises:
        ConfigurationError: If ``most`` is negative or more than the graph takes.
    """
    if most is not None and most < 0:
        raise ConfigurationError(f"the largest batch is {most}. Give 0 (no batching) or a positive number.")
    if most == 0:
        return Batching(0)
    reason = _no_batching(manifest.signature)
    if reason is not None:
        return Batching(0, reason=reason)
    batch = str(manifest.signature.batch)
    limit = manifest.signature.ranges.get(batch)
    largest = None if limit is None else limit.max
    if most is not None and largest is not None and most > largest:
        raise ConfigurationError(f"the largest batch is {most}, but the graph is correct up to {largest}. Give less.")
    seen = manifest.shape_ranges.get(batch)
    found = most or (seen.max if seen else min(_DEFAULT_BATCH, largest or _DEFAULT_BATCH))
    is_of_sample = most is None and seen is not None and manifest.shape_ranges_from == "sample"
    return Batching(found, min(seen.usual if seen else 1, found), is_of_sample=is_of_sample)


def _no_batching(signature: Signature) -> str | None:
    batch = signature.batch
    without = [s.name for s in (*signature.inputs, *signature.outputs) if not s.shape or s.shape[0] != batch]
    if batch is None:
        return "the graph has no batch dim"
    if without:
        return f"the batch is not the first dim of {', '.join(without)}"
    if batch in signature.ranges and 1 not in signature.ranges[batch]:
        return f"the graph takes batches of {signature.ranges[batch]}"
    related = [relation for relation in signature.relations if batch in relation.split()]
    return related[0] if related else None


def config(
    name: str,
    manifest: Manifest,
    joined: Batching,
    labels: Mapping[str, str],
    warmup: Sequence[WarmupInput],
) -> str:
    """Return the text of ``config.pbtxt``.

    Args:
        name: Name of the model.
        manifest: The artifact's manifest.
        joined: How requests are joined.
        labels: The file of the class names, by output.
        warmup: The inputs of the warm-up request; empty for none.

    Raises:
        ConfigurationError: If Triton has no type for a dtype.
    """
    lines = [f"name: {_text(name)}", 'backend: "onnxruntime"']
    if manifest.model.file != "model.onnx":
        lines.append(f"default_model_filename: {_text(manifest.model.file)}")
    lines += [f"max_batch_size: {joined.max_size}", *signature_lines(manifest.signature, joined, labels)]
    if joined.max_size > 1:
        lines.append("dynamic_batching { }")
    sizes = dict.fromkeys((1, joined.usual)) if warmup else ()
    lines += [line for size in sizes for line in _warmup(size, warmup)]
    return "\n".join(lines) + "\n"


def signature_lines(signature: Signature, joined: Batching, labels: Mapping[str, str] | None = None) -> list[str]:
    """Return the lines of inputs and outputs, without the batch dim where Triton adds one.

    Args:
        signature: The signature.
        joined: How requests are joined.
        labels: The file of the class names, by output; clients do not depend on it.
    """
    files = labels or {}
    lines: list[str] = []
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            lines += [f"{kind} {{", *(f"  {line}" for line in _tensor(spec, joined, files.get(spec.name))), "}"]
    return lines


def signature_lines_in(text: str) -> list[str]:
    """Return the lines of ``signature_lines`` from a configuration that ``config`` made, without ``labels``.

    Args:
        text: The text of ``config.pbtxt``.
    """
    found: list[str] = []
    is_inside = False
    for line in text.splitlines():
        is_inside = is_inside or line in ("input {", "output {")
        if is_inside and not line.startswith(f"  {_LABELS}:"):
            found.append(line)
        is_inside = is_inside and line != "}"
    return found


def _tensor(spec: TensorSpec, joined: Batching, label_file: str | None) -> Iterator[str]:
    shape = spec.shape[1:] if joined.max_size else spec.shape
    yield f"name: {_text(spec.name)}"
    yield f"data_type: {type_of(spec)}"
    yield f"dims: [{', '.join(str(dim) if isinstance(dim, int) else '-1' for dim in shape or (1,))}]"
    if not shape:  # Triton has no empty dims
        yield "reshape { shape: [] }"
    if label_file is not None:
        yield f"{_LABELS}: {_text(label_file)}"


def type_of(spec: TensorSpec) -> str:
    """Return Triton's name of a dtype.

    Raises:
        ConfigurationError: If it has none.
    """
    if spec.dtype not in _TYPES:
        raise ConfigurationError(
            f"{spec.name!r} has the dtype {spec.dtype}, which Triton does not know. Export another."
        )
    return f"TYPE_{_TYPES[spec.dtype]}"


def _warmup(size: int, inputs: Sequence[WarmupInput]) -> Iterator[str]:
    yield "model_warmup {"
    yield f'  name: "batch of {size}"'
    yield f"  batch_size: {size}"
    for each in inputs:
        dims = ", ".join(map(str, each.dims or (1,)))
        yield f"  inputs {{ key: {_text(each.name)} value {{"
        yield f"    data_type: TYPE_{_TYPES[each.dtype]} dims: [{dims}] input_data_file: {_text(each.file)}"
        yield "  } }"
    yield "}"


def _text(value: str) -> str:
    r"""Return a string of protobuf's text format.

    Example:
        >>> _text('a"b')
        '"a\\"b"'
    """
    return json.dumps("".join(c if c.isprintable() else "?" for c in value), ensure_ascii=False)
