"""Checks whether a variant makes a metric of the user's validation loop worse by more than its budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.metrics import MetricParity, is_loss
from lightning_onnx.variants.base import Variant

NAME = "metrics"


def check(variant: Variant, context: CheckContext, metrics: MetricParity) -> CheckResult:
    """Run the validation loop with the module and with the variant.

    Args:
        variant: The variant, with its budget and the metric that decides.
        context: The variant's file, and the validation loop.
        metrics: Runs the loop.
    """
    found = metrics(context)  # its own status is ignored: it requires a model equal to the module
    return judge(variant, found.figures.get("metrics", {}), found.reason)


def judge(variant: Variant, metrics: Mapping[str, Mapping[str, Any]], reason: str | None = None) -> CheckResult:
    """Compare metrics with a variant's budget.

    Args:
        variant: The variant, with its budget and the metric that decides.
        metrics: ``module``, ``onnx`` and ``status`` of each metric; skipped ones are ignored.
        reason: Why there are no metrics.
    """
    known = {name: row for name, row in metrics.items() if row.get("status") != "skipped"}
    if variant.metric is not None and variant.metric not in known:
        logged = ", ".join(known) or reason or "nothing"
        why = f"metric={variant.metric!r} is not logged by the validation loop, which logs {logged}"
        return CheckResult(NAME, "failed", why)
    if not known:
        return CheckResult(NAME, "skipped", reason or "the validation loop logs no metric")
    deciding = _deciding(variant, list(known))
    rows = {name: _row(name, row, variant.max_metric_drop, name in deciding) for name, row in known.items()}
    failed = [name for name, row in rows.items() if row["status"] == "failed"]
    drops = [rows[name]["drop"] for name in deciding if rows[name]["drop"] is not None]
    scalars = {"metric_drop": max(drops)} if drops else {}
    if failed:
        row = rows[failed[0]]
        why = (
            f"{failed[0]} is {_text(row['variant'])}, the module's is {_text(row['module'])}: worse by "
            f"{_text(row['drop'])}{' of it' if is_loss(failed[0]) else ''}; {variant.max_metric_drop:g} is allowed"
        )
        return CheckResult(NAME, "failed", why, {"metrics": rows}, scalars)
    return CheckResult(NAME, "passed", None, {"metrics": rows}, scalars)


def _deciding(variant: Variant, names: list[str]) -> list[str]:
    if variant.metric is not None:
        return [variant.metric]
    return [name for name in names if not is_loss(name)] or names


def _row(name: str, row: Mapping[str, Any], allowed: float, decides: bool) -> dict[str, Any]:
    was, now = _number(row.get("module")), _number(row.get("onnx"))
    drop = None
    if was is not None and now is not None:
        drop = (now - was) / (abs(was) or 1.0) if is_loss(name) else was - now
    status = "passed" if drop is not None and drop <= allowed else "failed"
    return {
        "module": was,
        "variant": now,
        "drop": drop,
        "allowed": allowed if decides else None,
        "status": status if decides else "not judged",
    }


def _number(value: float | None) -> float | None:
    """Return the value if it is finite, else None: JSON has only finite numbers."""
    return float(value) if value is not None and math.isfinite(value) else None


def _text(value: float | None) -> str:
    return "a non-finite number" if value is None else f"{value:.4g}"
