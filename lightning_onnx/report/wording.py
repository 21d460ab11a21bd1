"""What a manifest says, in words: the same for text, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_onnx.report.tables import size, text

VARIANT_COLUMNS = ("variant", "status", "size", "latency ratio", "worst difference", "metrics", "reason")
METRIC_COLUMNS = ("variant", "metric", "module", "of the variant", "drop", "allowed", "status")


def verdict(manifest: Mapping[str, Any]) -> str:
    """Return ``"failed"``, ``"passed"`` or ``"not checked"``."""
    statuses = [check["status"] for check in manifest["checks"]]
    return "failed" if "failed" in statuses else "passed" if "passed" in statuses else "not checked"


def what(manifest: Mapping[str, Any]) -> str:
    """Return the method that was exported."""
    source = manifest["source"]
    method = source.get("method") or "forward"
    return f"{source['module']}.{method}" if source.get("module") else str(method)


def cards(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what to see at a glance."""
    model, source = manifest["model"], manifest["source"]
    found = [
        ("size", size(_bytes(manifest))),
        ("opset", str(model["opset"])),
        ("IR version", str(model["ir_version"])),
    ]
    if source["epoch"] is not None:
        found += [("epoch", str(source["epoch"])), ("step", str(source["global_step"]))]
    if source["monitor"]:
        found.append((source["monitor"], score(source["score"])))
    return found


def model(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the model is."""
    own = manifest["model"]
    rows = [
        ("model", f"{own['file']}, {size(_bytes(manifest))}, sha256 {own['sha256'][:12]}…"),
        ("method", what(manifest)),
        ("opset", f"{own['opset']} (IR version {own['ir_version']})"),
        ("engine", f"{own['engine']}: {own['engine_reason']}"),
    ]
    if own.get("oldest_onnxruntime"):
        target = f", written for {own['target']}" if own.get("target") else ""
        rows.append(("loads in", f"onnxruntime {own['oldest_onnxruntime']} and later{target}"))
    sample = manifest["source"].get("sample")
    return [*rows, ("traced with", sample)] if sample else rows


def weights(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return where the weights come from."""
    source = manifest["source"]
    rows = [("weights", source["weights"])]
    if source["checkpoint"]:
        rows.append(("checkpoint", source["checkpoint"]))
    if source["epoch"] is not None:
        rows.append(("trained for", f"epoch {source['epoch']}, step {source['global_step']}"))
    if source["monitor"]:
        rows.append(("chosen by", f"{source['monitor']} = {score(source['score'])}"))
    return [*rows, ("trained", f"precision {source['precision']} on {source['device']}; exported and checked on CPU")]


def weights_line(manifest: Mapping[str, Any]) -> str:
    """Return where the weights come from, in one line."""
    source = manifest["source"]
    if source["epoch"] is None:
        return f"{source['weights']}"
    if source["weights"] != "best":
        return f"{source['weights']}, epoch {source['epoch']}, step {source['global_step']}"
    return (
        f"best by {source['monitor']} = {score(source['score'])}, epoch {source['epoch']}, "
        f"step {source['global_step']} ({source['checkpoint']})"
    )


def tensors(manifest: Mapping[str, Any]) -> list[list[str]]:
    """Return inputs and outputs: kind, name, dtype, shape."""
    return [
        [kind, v["name"], v["dtype"], "[" + ", ".join(map(str, v["shape"])) + "]"]
        for kind in ("input", "output")
        for v in manifest[f"{kind}s"]
    ]


def checks(manifest: Mapping[str, Any]) -> list[list[str]]:
    """Return the checks: name, status, runtime, reason."""
    return [[c["name"], c["status"], runtime(c["figures"]), c["reason"] or ""] for c in manifest["checks"]]


def variants(manifest: Mapping[str, Any]) -> list[list[str]]:
    """Return the variants, in the columns of ``VARIANT_COLUMNS``."""
    return [_variant(v, _bytes(manifest)) for v in manifest.get("variants", ())]


def _variant(variant: Mapping[str, Any], whole: int) -> list[str]:
    figures = variant["figures"]
    ratio, latency, worst = (figures.get(k) for k in ("size_ratio", "latency_ratio", "worst_difference"))
    return [
        variant["name"],
        variant["status"],
        "–" if ratio is None else f"{size(round(ratio * whole))} ({ratio:.0%})",
        "–" if latency is None else f"{latency:.3g}",
        "–" if worst is None else f"{worst:.1e}",
        "; ".join(f"{r[1]} {r[2]} → {r[3]}" for r in variant_metrics({"variants": [variant]}) if r[6] != "not judged")
        or "–",
        "; ".join(filter(None, (variant["reason"], *variant["notes"]))),
    ]


def variant_metrics(manifest: Mapping[str, Any]) -> list[list[str]]:
    """Return the metrics of all variants, in the columns of ``METRIC_COLUMNS``."""
    return [
        [variant["name"], name, *(text(row[k]) for k in ("module", "variant", "drop", "allowed")), row["status"]]
        for variant in manifest.get("variants", ())
        for check in variant["checks"]
        for name, row in (check["figures"].get("metrics") or {}).items()
    ]


def runtime(figures: Mapping[str, Any]) -> str:
    """Return what ran the model, empty where the figures do not say."""
    return f"{figures['runtime']} {figures.get('runtime_version', '')}".strip() if "runtime" in figures else ""


def score(value: float | None) -> str:
    """Return a metric for people."""
    return "unknown" if value is None else f"{value:.6g}"


def _bytes(manifest: Mapping[str, Any]) -> int:
    """Size of the model with the weights beside it."""
    whole = manifest.get("scalars", {}).get("size_mib")
    return int(manifest["model"]["bytes"]) if whole is None else round(whole * 2**20)
