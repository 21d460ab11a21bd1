"""Checks whether a variant makes a metric of the user's validation loop worse by more than its budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.metric_names import Mode, is_share, is_training_loss, mode_of
from lightning_onnx.checks.metrics import MetricParity
from lightning_onnx.errors import did_you_mean
from lightning_onnx.variants.base import Variant, metric_mode

NAME = "metrics"


def check(variant: Variant, context: CheckContext, metrics: MetricParity) -> CheckResult:
    """Run the validation loop with the module and with the variant.

    Args:
        variant: The variant, with its budget and the metric that decides.
        context: The variant's file, and the validation loop.
        metrics: Runs the loop.
    """
    found = metrics(context)  # its own status is ignored: it requires a model equal to the module
    rows, validation = found.figures.get("metrics", {}), context.inputs.validation
    known = validation.measure(None, metrics.limit_batches).modes if rows and validation else {}
    return judge(variant, rows, found.reason, known)


def judge(
    variant: Variant,
    metrics: Mapping[str, Mapping[str, Any]],
    reason: str | None = None,
    modes: Mapping[str, Mode] = MappingProxyType({}),
) -> CheckResult:
    """Compare metrics with a variant's budget.

    Args:
        variant: The variant, with its budget and the metric that decides.
        metrics: ``module``, ``onnx`` and ``status`` of each metric; skipped ones are ignored.
        reason: Why there are no metrics.
        modes: Whether lower or higher values of a metric are better, where that is known from elsewhere than its name.
    """
    known = {name: row for name, row in metrics.items() if row.get("status") != "skipped"}
    if variant.metric is not None and variant.metric not in known:
        logged = ", ".join(known) or reason or "nothing"
        nearest = did_you_mean(variant.metric, known).rstrip(".")
        why = f"metric={variant.metric!r} is not logged by the validation loop, which logs {logged}{nearest}"
        return CheckResult(NAME, "failed", why)
    if not known:
        return CheckResult(NAME, "skipped", reason or "the validation loop logs no metric")
    deciding = _deciding(variant, list(known))
    changes = {name: _change(variant, name, row, modes) for name, row in known.items()}
    rows = {name: change.row(name in deciding) for name, change in changes.items()}
    drops = [rows[name]["drop"] for name in deciding if rows[name]["drop"] is not None]
    scalars = {"metric_drop": max(drops)} if drops else {}
    failed = [name for name in deciding if rows[name]["status"] == "failed"]
    if failed:
        return CheckResult(NAME, "failed", changes[failed[0]].reason, {"metrics": rows}, scalars)
    unknown = [name for name in deciding if changes[name].mode is None]
    return CheckResult(NAME, "passed", _unknown(variant, unknown), {"metrics": rows}, scalars)


@dataclasses.dataclass(frozen=True)
class _Change:
    """How a metric changes with a variant.

    Attributes:
        variant: The variant.
        name: Name of the metric.
        was: Its value with the module; None if it is not finite.
        now: Its value with the variant; None if it is not finite.
        mode: Whether lower or higher is better; None if that is unknown, so that any change counts.
    """

    variant: Variant
    name: str
    was: float | None
    now: float | None
    mode: Mode | None

    @property
    def is_relative(self) -> bool:
        """Whether ``drop`` is a share of the module's value: an absolute one has a meaning only from -1 to 1."""
        return self.mode != "max" or (self.was is not None and abs(self.was) > 1)

    @property
    def drop(self) -> float | None:
        """How much worse the variant is; None if that cannot be told."""
        if self.was is None or self.now is None:
            return None
        change = self.now - self.was
        worse = abs(change) if self.mode is None else change if self.mode == "min" else -change
        return worse / (abs(self.was) or 1.0) if self.is_relative else worse

    def row(self, decides: bool) -> dict[str, Any]:
        """Return the figures for the manifest."""
        allowed = self.variant.max_metric_drop
        status = "passed" if self.drop is not None and self.drop <= allowed else "failed"
        return {
            "module": self.was,
            "variant": self.now,
            "drop": self.drop,
            "relative": self.is_relative,
            "allowed": allowed if decides else None,
            "status": status if decides else "not judged",
        }

    @property
    def reason(self) -> str:
        """Why the metric fails."""
        how = "worse" if self.mode else "changed"
        share = " of it" if self.is_relative and self.drop is not None else ""
        unknown = None if self.mode else _unknown(self.variant, [self.name])
        return (
            f"{self.name} is {_text(self.now)}, the module's is {_text(self.was)}: {how} by {_text(self.drop)}{share}; "
            f"{self.variant.max_metric_drop:g} is allowed{f'; {unknown}' if unknown else ''}"
        )


def _deciding(variant: Variant, names: list[str]) -> list[str]:
    """Return the metrics that decide: losses do not where there is a share of samples, which says what users see."""
    if variant.metric is not None:
        return [variant.metric]
    has_share = any(map(is_share, names))
    return [name for name in names if not (has_share and is_training_loss(name))]


def _change(variant: Variant, name: str, row: Mapping[str, Any], modes: Mapping[str, Mode]) -> _Change:
    own = metric_mode(variant) if name == variant.metric else None
    return _Change(variant, name, _number(row.get("module")), _number(row.get("onnx")), own or mode_of(name, modes))


def _unknown(variant: Variant, names: list[str]) -> str | None:
    """Return a sentence on metrics of which any change counts; None if there are none."""
    if not names:
        return None
    kind = type(variant).__name__
    return (
        f"any change of {', '.join(names)} counts as worse, because it is unknown whether higher or lower is better: "
        f"say so with {kind}(metric={names[0]!r}, metric_mode='min'), or 'max'"
    )


def _number(value: float | None) -> float | None:
    """Return the value if it is finite, else None: JSON has only finite numbers."""
    return float(value) if value is not None and math.isfinite(value) else None


def _text(value: float | None) -> str:
    return "a non-finite number" if value is None else f"{value:.4g}"
