"""What a manifest says, in words: the same for text, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_onnx.manifest.fields import Fields
from lightning_onnx.manifest.figures import ComparisonFigures, MetricFigures, VariantFigures, runtime_of
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.methods import scalars_of
from lightning_onnx.manifest.results import VariantRecord
from lightning_onnx.report.tables import size, text

VARIANT_COLUMNS = ("variant", "status", "size", "latency ratio", "worst difference", "metrics", "reason")
OUTCOMES = ("failed", "warning", "undecidable", "passed")
"""How a case of a check may end, worst first."""

_MOST_TENSORS = 6
"""Inputs and outputs that the first lines name; the table has all."""
_MOST_LABELS = 20

METRIC_COLUMNS = ("variant", "metric", "module's value", "variant's value", "drop", "allowed drop", "status")


def essentials(manifest: Manifest) -> list[str]:
    """Return what to know of an artifact beside the verdict, in a few lines; of several methods, of each."""
    if manifest.methods:
        lines = {name: essentials(record) for name, record in manifest.by_method.items()}
        return [f"{name}: {line}" for name, own in lines.items() for line in own]
    shapes = (f"{kind} {name}: {dtype} {shape}" for kind, name, dtype, shape in tensors(manifest)[:_MOST_TENSORS])
    return [file_line(manifest), f"weights: {weights_line(manifest)}", *shapes, *largest_difference(manifest)]


def file_line(manifest: Manifest) -> str:
    """Return a line on the model's file."""
    own = manifest.model
    loads = f", loads in onnxruntime {own.oldest_onnxruntime} and later" if own.oldest_onnxruntime else ""
    return f"{own.file}: {size(_bytes(manifest))}, opset {own.opset}{loads}"


def largest_difference(manifest: Manifest) -> list[str]:
    """Return a line on the largest difference from the module, of all methods; none if nothing was compared."""
    found = [
        (ratio, f"{output} of {method}" if manifest.methods else output)
        for method, record in manifest.by_method.items()
        for check in record.checks
        for output, own in ComparisonFigures.find(check.figures).outputs.items()
        for ratio in own.worst_ratio.values()
    ]
    return [f"largest difference: {100 * max(found)[0]:.3g}% of what is allowed, in {max(found)[1]}"] if found else []


def what(manifest: Manifest) -> str:
    """Return the methods that were exported, with their class if known."""
    module, methods = manifest.source.module, " and ".join(manifest.by_method)
    return f"{module}.{methods}" if module else methods


def headline(manifest: Manifest) -> str:
    """Return a title: the module's class and the run, or else the artifact's name, as far as they are known."""
    names = [manifest.source.module, manifest.source.run or manifest.name or manifest.model.file]
    return " · ".join(dict.fromkeys(filter(None, names)))


def cards(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the facts to see at a glance: title, value."""
    model, source = manifest.model, manifest.source
    found = [
        ("size", size(_bytes(manifest))),
        ("opset", str(model.opset)),
        ("IR version", str(model.ir_version)),
    ]
    if source.epoch is not None:
        found += [("epoch", str(source.epoch)), ("step", str(source.global_step))]
    if source.monitor:
        found.append((source.monitor, score(source.score)))
    return found


def model(manifest: Manifest) -> list[tuple[str, str]]:
    """Return what the model is: name, value."""
    own = manifest.model
    rows = [
        ("model", f"{own.file}, {size(_bytes(manifest))}, sha256 {own.digest.sha256[:12]}…"),
        ("method", what(manifest)),
        ("opset", f"{own.opset} (IR version {own.ir_version})"),
        ("engine", f"{own.engine}: {own.engine_reason}"),
    ]
    if own.oldest_onnxruntime:
        target = f", written for {own.target}" if own.target else ""
        rows.append(("loads in", f"onnxruntime {own.oldest_onnxruntime} and later{target}"))
    rows.append(("checked by", checked_by(manifest)))
    sample = manifest.source.sample
    return [*rows, ("traced with", sample)] if sample else rows


def checked_by(manifest: Manifest) -> str:
    """Return the versions that made and checked the artifact, with the format of its manifest."""
    named = (("lightning-onnx", "lightning_onnx"), ("onnxruntime", "onnxruntime"))
    versions = [f"{name} {manifest.versions[key]}" for name, key in named if key in manifest.versions]
    return f"{' with '.join(versions) or 'unknown'} (manifest format {manifest.format_version})"


def weights(manifest: Manifest) -> list[tuple[str, str]]:
    """Return where the weights come from: name, value."""
    source = manifest.source
    rows = [("weights", source.weights)]
    if source.checkpoint:
        rows.append(("checkpoint", source.checkpoint))
    if source.epoch is not None:
        rows.append(("trained for", f"epoch {source.epoch}, step {source.global_step}"))
    if source.monitor:
        rows.append(("chosen by", f"{source.monitor} = {score(source.score)}"))
    return [*rows, *training(manifest)]


def training(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the precision and the device of the training: name, value; no row if nothing is known of them."""
    source = manifest.source
    precision = "" if source.precision is None else f"precision {source.precision}"
    device = "" if source.device is None else f"on {source.device}"
    known = " ".join(filter(None, (precision, device)))
    return [("trained", f"{known}; exported and checked on CPU")] if known else []


def weights_line(manifest: Manifest) -> str:
    """Return where the weights come from, in one line."""
    source = manifest.source
    if source.epoch is None:
        return source.weights
    if source.weights != "best":
        return f"{source.weights}, epoch {source.epoch}, step {source.global_step}"
    return (
        f"best by {source.monitor} = {score(source.score)}, epoch {source.epoch}, "
        f"step {source.global_step} ({source.checkpoint})"
    )


def tensors(manifest: Manifest) -> list[list[str]]:
    """Return inputs and outputs: kind, name, dtype, shape."""
    return [
        [kind, spec.name, spec.dtype, "[" + ", ".join(map(str, spec.shape)) + "]"]
        for kind, specs in (("input", manifest.signature.inputs), ("output", manifest.signature.outputs))
        for spec in specs
    ]


def _range(ends: tuple[float, float], dtype: str) -> str:
    is_exact = "int" in dtype and max(map(abs, ends)) < 1000
    return f"{'' if is_exact else 'about '}{ends[0]:g} to {ends[1]:g}"


def contract(manifest: Manifest) -> list[list[str]]:
    """Return what inputs and outputs mean: name, value; empty if it is not known."""
    own = manifest.contract
    if own is None:
        return []
    rows = [["the caller has to", ", ".join(own.caller_steps)]] if own.caller_steps else []
    rows += [["the graph begins with", ", ".join(s.sentence for s in own.steps if s.in_graph)]]
    rows += [["the graph ends with", (manifest.fused and manifest.fused.postprocess) or ""]]
    rows += [
        [f"values of {name}", f"{_range(values.range, values.dtype)}, {values.dtype}"]
        for name, values in own.inputs.items()
        if values.range is not None
    ]
    for name, output in own.outputs.items():
        meaning = output.kind + (f", {output.activation} makes probabilities" if output.activation else "")
        found = f", from {own.labels_from}" if own.labels_from else ""
        rows.append([f"classes of {name}", f"{_shortened(output.labels)} ({meaning}{found})"])
    rows += [[name, f"{value:g}"] for name, value in own.settings.items()]
    return [row for row in rows if row[1]]


def _shortened(names: Sequence[str]) -> str:
    """Return class names in their order; of many, the first and the last."""
    shown = names if len(names) <= _MOST_LABELS else (*names[: _MOST_LABELS - 1], "…", names[-1])
    return ", ".join(shown) + ("" if len(names) <= _MOST_LABELS else f": {len(names)}")


def checks(manifest: Manifest) -> list[list[str]]:
    """Return the checks: name, status, runtime, reason."""
    return [[c.name, c.status, runtime_of(c.figures), c.reason or ""] for c in manifest.checks]


def variants(manifest: Manifest) -> list[list[str]]:
    """Return the variants, in the columns of ``VARIANT_COLUMNS``."""
    return [_variant(variant, _bytes(manifest)) for variant in manifest.variants]


def variant_metrics(manifest: Manifest) -> list[list[str]]:
    """Return the metrics of all variants, in the columns of ``METRIC_COLUMNS``."""
    return [
        [variant.name, name, text(row.module), text(row.variant), *_drops(row), row.status]
        for variant in manifest.variants
        for name, row in _metrics(variant)
    ]


def variant_bars(manifest: Manifest) -> dict[str, list[tuple[str, str, float]]]:
    """Return the size and each metric of the model and its variants: name, text, number; no number is below zero."""
    whole = _bytes(manifest)
    found: dict[str, list[tuple[str, str, float]]] = {"size": [("model", size(whole), whole)]}
    for variant in manifest.variants:
        ratio = VariantFigures.read(Fields(variant.figures, "variants.figures")).size_ratio
        if ratio is not None:
            found["size"].append((variant.name, size(ratio * whole), ratio * whole))
        for name, row in _metrics(variant):
            if row.module is not None and row.variant is not None and min(row.module, row.variant) >= 0:
                rows = found.setdefault(name, [("model", text(row.module), row.module)])
                rows.append((variant.name, text(row.variant), row.variant))
    return {name: rows for name, rows in found.items() if len(rows) > 1}


def score(value: float | None) -> str:
    """Return a metric's value as readable text."""
    return "unknown" if value is None else f"{value:.6g}"


def _variant(variant: VariantRecord, whole: float) -> list[str]:
    figures = VariantFigures.read(Fields(variant.figures, "variants.figures"))
    ratio, latency, worst = figures.size_ratio, figures.latency_ratio, figures.worst_difference
    judged = [(name, row) for name, row in _metrics(variant) if row.status != "not judged"]
    return [
        variant.name,
        variant.status,
        "–" if ratio is None else f"{size(ratio * whole)} ({ratio:.0%})",
        "–" if latency is None else f"{latency:.3g}",
        "–" if worst is None else f"{worst:.1e}",
        "; ".join(f"{name} {text(row.module)} → {text(row.variant)}" for name, row in judged) or "–",
        "; ".join(filter(None, (variant.reason, *variant.notes))),
    ]


def _metrics(variant: VariantRecord) -> list[tuple[str, MetricFigures]]:
    return [
        (name, MetricFigures.read(row))
        for check in variant.checks
        for name, row in Fields(check.figures, "variants.checks.figures").objects_by_name("metrics").items()
    ]


def _drops(row: MetricFigures) -> list[str]:
    """Return how much worse a metric is and may be: in percent if that is a share of the module's value."""
    return [f"{100 * x:.3g}%" if row.relative and x is not None else text(x) for x in (row.drop, row.allowed)]


def _bytes(manifest: Manifest) -> float:
    """Return the size of all models, with the weights in files beside them."""
    whole = scalars_of(manifest).get("size_mib")
    return manifest.model.digest.bytes if whole is None else float(whole * 2**20)
