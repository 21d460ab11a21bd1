"""What the manifest and the model's own metadata say of an export."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from lightning_onnx.artifacts.artifact import FORMAT_VERSION, describe_file
from lightning_onnx.artifacts.versions import versions
from lightning_onnx.checks.base import CheckResult
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.module.weights.source import Source
from lightning_onnx.onnxfile.compatibility import oldest_onnxruntime
from lightning_onnx.onnxfile.head import opset_of, read_head
from lightning_onnx.onnxfile.outline import outline
from lightning_onnx.variants.judging import VariantResult


def embedded(source: Source, metadata: Mapping[str, str] | None) -> dict[str, str]:
    """What travels in the model file itself."""
    own = {k: v for k, v in dataclasses.asdict(source).items() if v is not None}
    installed = versions()
    return {
        **{f"lightning_onnx.{k}": v if isinstance(v, str) else json.dumps(v) for k, v in own.items()},
        **{f"lightning_onnx.version.{k}": installed[k] for k in ("torch", "lightning", "lightning_onnx")},
        **(metadata or {}),
    }


def build(
    path: Path,
    skeleton: onnx.ModelProto,
    signature: Signature,
    source: Source,
    results: Sequence[CheckResult],
    notes: Sequence[str],
    *,
    variants: Sequence[VariantResult] = (),
    engine: str,
    engine_reason: str,
    method: str,
    sample: str,
    name: str | None = None,
    module: str | None = None,
    metadata: Mapping[str, str] | None = None,
    request: Request,
    target: str | None = None,
) -> dict[str, Any]:
    """Return the manifest of a written model, without the digests of the other files.

    Args:
        path: The model; opset and IR version are read from it.
        skeleton: The model without its weights' values.
        signature: What it takes and gives.
        source: Where its weights come from.
        results: What the checks found.
        notes: What a user should know.
        variants: What became of the variants.
        engine: Name of the engine.
        engine_reason: Why this one.
        method: The exported method.
        sample: Where the traced call comes from.
        name: The artifact's name.
        module: Name of the module's class.
        metadata: What the user embedded in the model.
        request: The traced call: its shapes, which the model takes in any case, and where its tensors stand.
        target: The program that the opset was chosen for.
    """
    head = read_head(path)
    found = (*(result.scalars for result in results), *(variant.scalars for variant in variants))
    scalars = {key: value for own in found for key, value in own.items()}
    size = sum(f.stat().st_size for f in path.parent.glob(f"{path.name}*"))
    return {
        "format_version": FORMAT_VERSION,
        "name": name,
        "model": {
            "file": path.name,
            **describe_file(path),
            "opset": opset_of(head),
            "ir_version": head.ir_version,
            "target": target,
            "oldest_onnxruntime": oldest_onnxruntime({o.domain: o.version for o in head.opset_import}, head.ir_version),
            "engine": engine,
            "engine_reason": engine_reason,
        },
        "inputs": [_spec(s) for s in signature.inputs],
        "outputs": [_spec(s) for s in signature.outputs],
        "relations": list(signature.relations),
        "source": {
            **dataclasses.asdict(source),
            "module": module,
            "method": method,
            "sample": sample,
            "traced_shapes": {n: list(t.shape) for n, t in zip(request.input_names, request.tensors, strict=True)},
            "paths": {
                "inputs": dict(zip(request.input_names, map(list, request.sample.paths), strict=True)),
                "outputs": dict(zip(request.output_names, map(list, request.output_paths), strict=True)),
            },
        },
        "checks": [result.to_dict() for result in results],
        "scalars": {**scalars, "size_mib": size / 2**20},
        "runtimes": next((r.figures["runtimes"] for r in results if "runtimes" in r.figures), {}),
        "variants": [variant.entry for variant in variants],
        "notes": list(notes),
        "metadata": dict(metadata or {}),
        "graph": outline(skeleton),
        "versions": versions(),
    }


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
