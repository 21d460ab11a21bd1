"""``lightning-onnx inspect``: a model's inputs, outputs and operators, and the results of its checks."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.cli.base import (
    Subparsers,
    add_json,
    add_parser,
    add_path,
    code_of,
    locate,
    no_model,
    write,
    write_json,
)
from lightning_onnx.errors import UsageError
from lightning_onnx.onnxfile.specs import dims_of
from lightning_onnx.printable import one_line

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    from lightning_onnx.onnxfile.privacy import PrivateText

_EXAMPLES = (
    "lightning-onnx inspect lightning_logs/version_0/onnx/epoch=2-step=90",
    "lightning-onnx inspect model.onnx",
    "lightning-onnx inspect DIR --json | jq .operators",
)

_RECORDED = (
    "relations", "ranges", "shape_ranges", "shape_ranges_from", "notes", "checks", "source", "versions",
    "format_version",
)  # fmt: skip
"""What only a manifest says."""


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = add_parser(
        subparsers,
        "inspect",
        run,
        "show signature, operators, oldest onnxruntime, private data and recorded checks of a model",
        _EXAMPLES,
    )
    add_path(parser)
    add_json(parser)


@dataclasses.dataclass(frozen=True)
class ValueDescription:
    """An input or output; the shape is None if it is unknown or the value is not a tensor."""

    name: str
    dtype: str | None
    shape: tuple[int | str, ...] | None

    def __str__(self) -> str:
        """Return it as text."""
        shape = "[...]" if self.shape is None else f"[{', '.join(map(str, self.shape))}]"
        return f"{self.name}: {self.dtype}{shape}"


@dataclasses.dataclass(frozen=True)
class Description:
    """What ``--json`` writes, in this order; what only a manifest can say is empty for a file on its own.

    Of an artifact of several methods, the fields are those of the first, and ``methods`` has the others by name.
    """

    file: str
    opset: Mapping[str, int]
    ir_version: int
    oldest_onnxruntime: str | None
    producer: str
    inputs: tuple[ValueDescription, ...]
    outputs: tuple[ValueDescription, ...]
    operators: Mapping[str, int]
    private: tuple[PrivateText, ...]
    metadata: Mapping[str, str]
    relations: Sequence[str] = ()
    ranges: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    shape_ranges: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    shape_ranges_from: str | None = None
    notes: Sequence[str] = ()
    checks: Sequence[Mapping[str, Any]] = ()
    source: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    format_version: int | None = None
    methods: Mapping[str, Description] = dataclasses.field(default_factory=dict)


def run(arguments: argparse.Namespace) -> int:
    """Show a model; 1 if a recorded check failed or the artifact is altered, 3 if all checks were skipped."""
    model, artifact = locate(arguments.path)
    found = describe(model, artifact)
    if artifact is not None:
        others = {name: artifact.method(name) for name in artifact.methods[1:]}
        found = dataclasses.replace(
            found, methods={name: describe(own.model_path, own) for name, own in others.items()}
        )
    if arguments.json:
        write_json(dataclasses.asdict(found))
    else:
        write(_text(found, artifact))
    return code_of(check["status"] for own in (found, *found.methods.values()) for check in own.checks)


def describe(model: Path, artifact: ONNXArtifact | None) -> Description:
    """Describe a model.

    Args:
        model: The ONNX file.
        artifact: Its artifact, whose manifest says more; None for a file on its own.

    Raises:
        UsageError: If the file is not an ONNX model.
    """
    import onnx

    try:  # a file from anybody: names may be no text, types may not exist
        found = _described(model, onnx.load(str(model), "protobuf" if artifact else None, load_external_data=False))
        json.dumps(dataclasses.asdict(found))  # a name that is not UTF-8 comes as bytes
    except Exception as error:
        raise no_model(model, error) from error
    if not found.outputs:
        raise UsageError(f"{model} is not an ONNX model: it has no outputs. Give an ONNX file.")
    if artifact is None:
        return found
    return dataclasses.replace(found, **{key: artifact.manifest[key] for key in _RECORDED if key in artifact.manifest})


def _described(model: Path, proto: ModelProto) -> Description:
    from lightning_onnx.onnxfile.compatibility import oldest_onnxruntime
    from lightning_onnx.onnxfile.outline import outline
    from lightning_onnx.onnxfile.privacy import find_private_data

    weights = {tensor.name for tensor in proto.graph.initializer}
    return Description(
        file=model.name,
        opset={o.domain or "ai.onnx": o.version for o in proto.opset_import},
        ir_version=proto.ir_version,
        oldest_onnxruntime=oldest_onnxruntime({o.domain: o.version for o in proto.opset_import}, proto.ir_version),
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        inputs=tuple(_value(v) for v in proto.graph.input if v.name not in weights),
        outputs=tuple(map(_value, proto.graph.output)),
        operators=dict(outline(proto).operators),
        private=tuple(find_private_data(proto)),
        metadata={entry.key: entry.value for entry in proto.metadata_props},
    )


def _value(value: ValueInfoProto) -> ValueDescription:
    from onnx import TensorProto, helper

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return ValueDescription(value.name, kind, None)
    tensor = value.type.tensor_type
    shape = tuple("?" if dim == "" else dim for dim in dims_of(tensor))
    special: dict[int, str] = {TensorProto.STRING: "string", TensorProto.UNDEFINED: "undefined"}
    # Numpy's names, as in the manifest.
    dtype = special.get(tensor.elem_type) or str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return ValueDescription(value.name, dtype, shape if tensor.HasField("shape") else None)


def _text(found: Description, artifact: ONNXArtifact | None) -> str:
    if artifact is not None:
        every = {artifact.methods[0]: found, **found.methods}
        titled = [(f"{name}: " if len(every) > 1 else "", own) for name, own in every.items()]
        parts = [
            f"{title}Operators\n  {_operators(own)}\n\n{title}Private data\n  {_private(own)}" for title, own in titled
        ]
        return "\n\n".join([artifact.report.text(), *parts])
    oldest = found.oldest_onnxruntime
    lines = [
        found.file,
        f"  opset       {', '.join(f'{domain} {version}' for domain, version in found.opset.items())}",
        f"  IR version  {found.ir_version}",
        f"  loads in    {f'onnxruntime {oldest} and later' if oldest else 'no version of onnxruntime that is known'}",
        f"  producer    {found.producer or 'unknown'}",
        *(f"  input       {value}" for value in found.inputs),
        *(f"  output      {value}" for value in found.outputs),
        f"  operators   {_operators(found)}",
        f"  private     {_private(found)}",
        *(f"  metadata    {key} = {value}" for key, value in found.metadata.items()),
    ]
    return "\n".join(map(one_line, lines))


def _operators(found: Description) -> str:
    return one_line(", ".join(f"{name} {count}" for name, count in found.operators.items()))


def _private(found: Description) -> str:
    return one_line("; ".join(f"{p.kind} in {p.where}: {p.found}" for p in found.private)) or "none found"
