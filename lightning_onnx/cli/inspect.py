"""``lightning-onnx inspect``: a model's inputs, outputs and operators, and the results of its checks."""

from __future__ import annotations

import argparse
import dataclasses
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
    write,
    write_json,
)
from lightning_onnx.errors import UsageError, first_line

if TYPE_CHECKING:
    from onnx import ValueInfoProto

_EXAMPLES = (
    "lightning-onnx inspect lightning_logs/version_0/onnx/epoch=2-step=90",
    "lightning-onnx inspect model.onnx",
    "lightning-onnx inspect DIR --json | jq .operators",
)


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


def run(arguments: argparse.Namespace) -> int:
    """Show a model; 1 if a recorded check failed or the artifact is damaged, 3 if all checks were skipped."""
    model, artifact = locate(arguments.path)
    found = describe(model, artifact)
    if arguments.json:
        write_json(found)
    else:
        write(_text(found, artifact))
    return code_of(check["status"] for check in found["checks"])


def describe(model: Path, artifact: ONNXArtifact | None) -> dict[str, Any]:
    """Return the description of a model that ``--json`` writes.

    Args:
        model: The ONNX file.
        artifact: Its artifact, whose manifest says more; None for a file on its own.

    Raises:
        UsageError: If the file is no ONNX model.
    """
    import onnx

    from lightning_onnx.onnxfile import privacy
    from lightning_onnx.onnxfile.compatibility import oldest_onnxruntime
    from lightning_onnx.onnxfile.outline import outline

    try:
        proto = onnx.load(str(model), load_external_data=False)
    except Exception as error:
        raise UsageError(f"{model} is no ONNX model ({first_line(error)}). Give an ONNX file.") from error
    manifest = artifact.manifest if artifact is not None else {}
    weights = {tensor.name for tensor in proto.graph.initializer}
    return {
        "file": model.name,
        "opset": {o.domain or "ai.onnx": o.version for o in proto.opset_import},
        "ir_version": proto.ir_version,
        "oldest_onnxruntime": oldest_onnxruntime({o.domain: o.version for o in proto.opset_import}, proto.ir_version),
        "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
        "inputs": [_spec(v) for v in proto.graph.input if v.name not in weights],
        "outputs": [_spec(v) for v in proto.graph.output],
        "operators": dict(outline(proto).operators),
        "private": [dataclasses.asdict(private) for private in privacy.find_private_data(proto)],
        "metadata": {entry.key: entry.value for entry in proto.metadata_props},
        "relations": manifest.get("relations", []),
        "notes": manifest.get("notes", []),
        "checks": manifest.get("checks", []),
        "source": manifest.get("source"),
        "versions": manifest.get("versions", {}),
    }


def _spec(value: ValueInfoProto) -> dict[str, Any]:
    from onnx import TensorProto, helper

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return {"name": value.name, "dtype": kind, "shape": None}
    tensor = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
    special: dict[int, str] = {TensorProto.STRING: "string", TensorProto.UNDEFINED: "undefined"}
    # Numpy's names, as in the manifest.
    dtype = special.get(tensor.elem_type) or str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return {
        "name": value.name,
        "dtype": dtype,
        "shape": shape if tensor.HasField("shape") else None,
    }


def _text(found: dict[str, Any], artifact: ONNXArtifact | None) -> str:
    operators = ", ".join(f"{name} {count}" for name, count in found["operators"].items())
    if artifact is not None:
        return f"{artifact.report.text()}\n\nOperators\n  {operators}\n\nPrivate data\n  {_private(found)}"
    lines = [
        found["file"],
        f"  opset       {', '.join(f'{domain} {version}' for domain, version in found['opset'].items())}",
        f"  IR version  {found['ir_version']}",
        f"  loads in    {_oldest(found)}",
        f"  producer    {found['producer'] or 'unknown'}",
        *(f"  {kind}      {_line(v)}" for kind in ("input ", "output") for v in found[f"{kind.strip()}s"]),
        f"  operators   {operators}",
        f"  private     {_private(found)}",
        *(f"  metadata    {key} = {value}" for key, value in found["metadata"].items()),
    ]
    return "\n".join(lines)


def _oldest(found: dict[str, Any]) -> str:
    oldest = found["oldest_onnxruntime"]
    return f"onnxruntime {oldest} and later" if oldest else "unknown: no known version of onnxruntime loads it"


def _private(found: dict[str, Any]) -> str:
    return "; ".join(f"{p['kind']} in {p['where']}: {p['found']}" for p in found["private"]) or "none found"


def _line(spec: dict[str, Any]) -> str:
    shape = "[...]" if spec["shape"] is None else f"[{', '.join(map(str, spec['shape']))}]"
    return f"{spec['name']}: {spec['dtype']}{shape}"
