"""Builds the manifest of an export, and the metadata in the model file."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from lightning_onnx.artifacts.versions import versions
from lightning_onnx.checks.base import CheckResult
from lightning_onnx.manifest.answers import Samples
from lightning_onnx.manifest.contract import Contract
from lightning_onnx.manifest.fields import Plain
from lightning_onnx.manifest.fused import Fused
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.model import FileDigest, ModelFile, ranges_to_dict
from lightning_onnx.manifest.source import ExportSource
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.fused import Around, Part
from lightning_onnx.module.steps import described
from lightning_onnx.module.weights.source import Source
from lightning_onnx.onnxfile.compatibility import oldest_onnxruntime
from lightning_onnx.onnxfile.graph_summary import GraphSummary
from lightning_onnx.onnxfile.head import opset_of, read_head
from lightning_onnx.onnxfile.outline import outline
from lightning_onnx.onnxfile.privacy import without_paths
from lightning_onnx.onnxfile.shared_weights import size_of
from lightning_onnx.pipeline.inner_part import InnerPart
from lightning_onnx.pipeline.plan import Plan
from lightning_onnx.variants.judging import VariantResult

_NOT_EMBEDDED = ("run",)
"""What would make equal models of two runs unequal files."""


def embedded(source: Source, signature: Signature, metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return the metadata for the model file itself.

    Args:
        source: Where the weights come from.
        signature: What the graph takes; the limits of its sizes are included, if there are any.
        metadata: The user's metadata.
    """
    ranges = ranges_to_dict(signature)
    own = {k: v for k, v in dataclasses.asdict(source).items() if v is not None and k not in _NOT_EMBEDDED}
    installed = versions()
    return {
        **{f"lightning_onnx.{k}": v if isinstance(v, str) else json.dumps(v) for k, v in own.items()},
        **({"lightning_onnx.ranges": json.dumps(ranges)} if ranges else {}),
        **{f"lightning_onnx.version.{k}": installed[k] for k in ("torch", "lightning", "lightning_onnx")},
        **(metadata or {}),
    }


def build(
    plan: Plan,
    model_path: Path,
    skeleton: onnx.ModelProto,
    digest: FileDigest,
    source: Source,
    *,
    module: str,
    checks: Sequence[CheckResult],
    variants: Sequence[VariantResult],
    notes: Sequence[str],
    samples: Samples,
    contract: Contract | None = None,
    part: InnerPart | None = None,
) -> Manifest:
    """Return the manifest of a written model, without what the artifact as a whole says: name, files, assets.

    Args:
        plan: The plan, with the options, the request and the traced graph.
        model_path: The model; opset and IR version are read from it.
        skeleton: The model without the values of its weights.
        digest: The model's digest.
        source: Where its weights come from.
        module: Name of the module's class.
        checks: The results of the checks.
        variants: The results of the variants.
        notes: What the user should know.
        samples: Answers of module and file side by side.
        contract: What inputs and outputs mean.
        part: The part of the graph between preprocessing and postprocessing; None if there is none.
    """
    return Manifest(
        name=None,
        model=_model(plan, model_path, digest),
        signature=plan.graph.signature,
        source=_source(plan, source, module),
        checks=tuple(checks),
        scalars=_scalars(model_path, checks, variants),
        runtimes=_runtimes(checks),
        variants=tuple(variant.record for variant in variants),
        notes=tuple(notes),
        metadata=dict(plan.config.metadata or {}),
        graph=_outline(skeleton.graph.SerializeToString(deterministic=True)),
        versions=versions(),
        shape_ranges=plan.sizes.dims,
        shape_ranges_from=plan.sizes.origin if plan.sizes.dims else None,
        samples=samples,
        contract=contract,
        fused=_fused(plan.config.around, part),
    )


def _fused(around: Around, part: InnerPart | None) -> Fused | None:
    if around.is_empty:
        return None
    inputs, outputs, after = ((), (), ()) if part is None else (part.inputs, part.outputs, part.after)
    return Fused(_text(around.preprocess), _end(around.postprocess, after), inputs, outputs)


def _end(postprocess: Part | None, operators: Sequence[str]) -> str | None:
    """Return how the postprocessing prints itself; of a function, which has only a name, also what it does."""
    text = _text(postprocess)
    is_only_named = isinstance(postprocess, str) or inspect.isroutine(postprocess)
    return f"{text} ({', '.join(operators)})" if is_only_named and operators else text


def _text(part: Part | None) -> str | None:
    return part if part is None or isinstance(part, str) else without_paths(described(part))


@functools.lru_cache(maxsize=4)
def _outline(graph: bytes) -> GraphSummary:
    """Return what a graph consists of; it is the same for each checkpoint of a run."""
    model = onnx.ModelProto()
    model.graph.ParseFromString(graph)
    return outline(model)


def _model(plan: Plan, path: Path, digest: FileDigest) -> ModelFile:
    head = read_head(path)
    opsets = {entry.domain: entry.version for entry in head.opset_import}
    return ModelFile(
        file=path.name,
        digest=digest,
        opset=opset_of(head),
        ir_version=head.ir_version,
        target=plan.config.target,
        oldest_onnxruntime=oldest_onnxruntime(opsets, head.ir_version),
        engine=plan.graph.traced.engine,
        engine_reason=plan.engine_reason,
    )


def _source(plan: Plan, source: Source, module: str) -> ExportSource:
    request = plan.graph.request
    return ExportSource(
        **dataclasses.asdict(source),
        module=module,
        method=plan.config.method,
        sample=plan.source,
        traced_shapes={n: tuple(t.shape) for n, t in zip(request.input_names, request.tensors, strict=True)},
        input_paths=dict(zip(request.input_names, request.sample.paths, strict=True)),
        output_paths=dict(zip(request.output_names, request.output_paths, strict=True)),
    )


def _scalars(path: Path, checks: Sequence[CheckResult], variants: Sequence[VariantResult]) -> dict[str, float]:
    """Return the scalars for loggers; the size includes external weights."""
    found: dict[str, float] = {}
    for scalars in (*(check.scalars for check in checks), *(variant.scalars for variant in variants)):
        found |= scalars
    return {**found, "size_mib": size_of(path) / 2**20}


def _runtimes(checks: Sequence[CheckResult]) -> Plain:
    tables: list[Plain] = [check.figures["runtimes"] for check in checks if "runtimes" in check.figures]
    return tables[0] if tables else {}
