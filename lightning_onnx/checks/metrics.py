"""Compares metrics of the file and the module: runs the user's validation loop with both."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.artifacts.stand_in import ExportedCall
from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.loaders import Loaders
from lightning_onnx.checks.metric_names import is_share, mode_of
from lightning_onnx.checks.validation import LoopResult, Validation
from lightning_onnx.errors import ConfigurationError, RuntimeUnavailable, SampleError, did_you_mean
from lightning_onnx.option_names import known_options
from lightning_onnx.option_values import check_numbers
from lightning_onnx.runtimes import base as runtimes
from lightning_onnx.runtimes.base import Session
from lightning_onnx.runtimes.worker import client

RELATIVE = 1e-3
"""How much a loss may differ, as a share of the module's: ten times the tolerance of ``Parity`` for an output."""

Row = dict[str, Any]


@known_options
@dataclasses.dataclass(frozen=True)
class MetricParity:
    """Runs the module's own validation loop twice on the same batches: with the module, and with the file's outputs.

    Each metric that the loop logs is compared. Shares that are known by their name (accuracy, precision, recall, F1
    and the like) and counts may differ by one sample: if two scores differ only by rounding, either may be the larger
    one. Other metrics may differ by 1e-3 of the module's value.

    The loop runs with its own Trainer on the CPU, on copies of the module, so that it affects neither the training nor
    the states of metrics; it takes about three validation passes. The module's validation hooks run as well, with a
    logger that writes nothing. ``self.trainer`` is this other Trainer, with a copy of the data module, at the epoch
    of the weights. If the loop does not run like this, the check is skipped, with the error as the reason. Values that
    the graph does not return (a loss that ``forward`` computes from labels) are NaN in the second run, and metrics
    computed from them are skipped.

    The figures are ``module``, ``onnx``, ``difference``, ``allowed`` and ``status`` for each metric.

    Args:
        limit_batches: As ``limit_val_batches`` of the Trainer; default: the value of the training.
        tolerances: The largest absolute difference by metric name, for metrics that need their own.
        runtime: The runtime that runs the file; see ``lightning_onnx.runtimes.base.RUNTIMES``.

    Example:
        >>> MetricParity(limit_batches=10, tolerances={"val_loss": 1e-4}).name
        'metrics'
    """

    limit_batches: int | float | None = None  # int first: jsonargparse would turn 10 batches into 10.0, a share
    tolerances: Mapping[str, float] | None = None
    runtime: str = runtimes.DEFAULT
    name: str = dataclasses.field(default="metrics", init=False)
    needs_validation: bool = dataclasses.field(default=True, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        runtimes.check_name(self.runtime)
        check_numbers(self, "tolerances", "val_loss")
        check_limit(self.limit_batches)

    def __call__(self, context: CheckContext) -> CheckResult:
        """Run the loop twice."""
        if context.inputs.validation is None:
            return self._skipped(context.inputs.no_validation)
        try:
            name = runtimes.program_for(context.model_path, self.runtime)
            with contextlib.closing(client.hosted(name)) as runtime:
                session = runtime.load(context.model_path)
                return self.compare(*measure(context.inputs.validation, session, self.limit_batches))
        except (SampleError, RuntimeUnavailable) as error:
            return self._skipped(str(error))

    def _skipped(self, reason: str, figures: dict[str, Any] | None = None) -> CheckResult:
        return CheckResult(self.name, "skipped", reason, figures or {}, {"metrics_passed": 0.0})

    def compare(self, module: LoopResult, onnx: LoopResult) -> CheckResult:
        """Compare the metrics of two runs of the loop.

        Args:
            module: The run with the module.
            onnx: The run with the file.
        """
        if module.batches != onnx.batches:
            return self._skipped("the validation loader returns different batches each time")
        names = list(dict.fromkeys((*module.metrics, *onnx.metrics, *(self.tolerances or {}))))
        rows = {name: self._row(name, module, onnx) for name in names}
        samples = sum(module.samples.values())
        figures: dict[str, Any] = {
            "metrics": rows,
            "batches": len(module.batches),
            "samples": samples,
            "runtime": self.runtime,
        }
        if module.answers is not None and onnx.answers is not None:
            figures["answers"] = {"module": module.answers.to_dict(), "file": onnx.answers.to_dict()}
        reasons = [f"{name}: {row['reason']}" for name, row in rows.items() if row["reason"]]
        statuses = {row["status"] for row in rows.values()}
        if not statuses & {"passed", "failed"}:
            return self._skipped("; ".join(reasons) or "the validation loop logs nothing", figures)
        if onnx.unanswered and not reasons:
            reasons = [f"the file does not return {', '.join(sorted(onnx.unanswered))}; the module's values were used"]
        status = "failed" if "failed" in statuses else "passed"
        scalars = {f"metrics/{name}": row["onnx"] for name, row in rows.items() if row.get("onnx") is not None}
        scalars["metrics_passed"] = float(status == "passed")
        return CheckResult(self.name, status, "; ".join(reasons) or None, figures, scalars)  # type: ignore[arg-type]

    def _row(self, name: str, module: LoopResult, onnx: LoopResult) -> Row:
        if not (name in module.metrics or name in onnx.metrics):
            nearest = did_you_mean(name, module.metrics).rstrip(".")
            unlogged = f"it has a tolerance, but the validation loop does not log it{nearest}"
            return {"status": "failed", "reason": unlogged}
        own, other = (m.metrics.get(name, math.nan) for m in (module, onnx))
        row: Row = {"module": _finite(own), "onnx": _finite(other), "difference": None, "allowed": None}
        if not math.isfinite(other) and math.isfinite(own) and onnx.unanswered and onnx.is_finite:
            places = ", ".join(sorted(onnx.unanswered))
            return {**row, "status": "skipped", "reason": f"computed from {places}, which the graph does not return"}
        if not (math.isfinite(own) or math.isfinite(other)):
            same = str(own) == str(other)
            return {**row, "status": "skipped" if same else "failed", "reason": f"it is {own} with the module"}
        if not (math.isfinite(own) and math.isfinite(other)):
            return {**row, "status": "failed", "reason": f"{own:.6g} with the module, {other:.6g} with the file"}
        allowed, difference = self._allowed(name, own, module.samples), abs(other - own)
        failed = difference > allowed
        reason = f"{other:.6g} with the file, {own:.6g} with the module; {allowed:.2g} is allowed" if failed else None
        status = "failed" if failed else "passed"
        return {**row, "difference": difference, "allowed": allowed, "status": status, "reason": reason}

    def _allowed(self, name: str, value: float, samples: Mapping[int, int]) -> float:
        if self.tolerances is not None and name in self.tolerances:
            return float(self.tolerances[name])
        if 0 <= value <= 1 and is_share(name):
            return 1 / _samples_of(name, samples) + 1e-6  # metrics are float32
        if value > 1 and value == round(value) and mode_of(name) != "min":
            return 1.0
        return RELATIVE * abs(value) + 1e-6


def measure(validation: Validation, session: Session, limit_batches: float | None) -> tuple[LoopResult, LoopResult]:
    """Run a validation loop with the module and with a file; return the results of both."""
    return validation.measure(None, limit_batches), validation.measure(session, limit_batches)


def evaluate(
    artifact: ONNXArtifact | str | os.PathLike[str],
    module: nn.Module,
    dataloaders: Any,
    *,
    limit_batches: float | None = None,
    runtime: str = runtimes.DEFAULT,
) -> dict[str, tuple[float, float]]:
    """Run a module's validation loop twice: with the module, and with an artifact in place of its exported method.

    Args:
        artifact: The artifact, or its directory.
        module: The LightningModule with its weights; it is copied and not changed.
        dataloaders: As in ``Trainer.validate``: a loader, several, or a ``LightningDataModule``.
        limit_batches: As ``limit_val_batches`` of the Trainer.
        runtime: The runtime that runs the file; see ``lightning_onnx.runtimes.base.RUNTIMES``.

    Returns:
        For each metric that the loop logs, its values with the module and with the artifact; NaN if one has none.

    Raises:
        ConfigurationError: If ``limit_batches`` is invalid.
        SampleError: If the loop does not run outside the training, never calls the exported method, or calls it without
            an input of the graph, or if the loader returns different batches each time.
        RuntimeUnavailable: If the runtime is not installed, or has no device.

    Example:
        >>> evaluate(artifact, module, datamodule)  # doctest: +SKIP
        {'val_loss': (0.0713, 0.0713), 'val_acc': (0.9833, 0.9833)}
    """
    check_limit(limit_batches)
    if not isinstance(artifact, ONNXArtifact):
        artifact = ONNXArtifact.load(artifact)
    call = ExportedCall.of(artifact.record)
    validation = Validation(module, Loaders(dataloaders, limit_batches, missing=None), call)
    with contextlib.closing(client.hosted(runtime)) as runs:
        own, other = measure(validation, runs.load(artifact.model_path), None)
    if own.batches != other.batches:
        raise SampleError(
            "the loader returns different batches each time, so runs cannot be compared. Give one that does not."
        )
    names = dict.fromkeys((*own.metrics, *other.metrics))
    return {name: (own.metrics.get(name, math.nan), other.metrics.get(name, math.nan)) for name in names}


def check_limit(limit_batches: Any) -> None:
    """Raise early if Lightning would raise later: a number of batches is an integer, a share is at most 1.

    Raises:
        ConfigurationError: If the limit is invalid.
    """
    whole = type(limit_batches) is int and limit_batches > 0
    share = type(limit_batches) is float and 0 < limit_batches <= 1
    if not (limit_batches is None or whole or share):
        raise ConfigurationError(
            f"limit_batches={limit_batches!r} is invalid. Give a number of batches such as 10, or a share such as 0.5."
        )


def _samples_of(name: str, samples: Mapping[int, int]) -> int:
    """Return the number of samples of a metric; for a name without a loader, that of the smallest loader."""
    found = re.search(r"/dataloader_idx_(\d+)$", name)
    place = int(found[1]) if found else -1
    return max(samples.get(place) or min(samples.values(), default=1), 1)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has neither NaN nor infinity
