"""Makes variants, checks their staged files, and keeps only those within their budgets."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from typing_extensions import override

from lightning_onnx.artifacts import data_set
from lightning_onnx.artifacts.file_digests import describe_file
from lightning_onnx.checks import stored_data
from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.comparison import Array, Comparison
from lightning_onnx.checks.metrics import MetricParity
from lightning_onnx.checks.parity import Parity
from lightning_onnx.checks.scales import Scales
from lightning_onnx.checks.timing import latency_ratio
from lightning_onnx.errors import RuntimeUnavailable, VariantNotApplicable, first_line
from lightning_onnx.manifest.results import Status, VariantRecord
from lightning_onnx.module.arrays import feeds
from lightning_onnx.onnxfile import privacy
from lightning_onnx.onnxfile.head import opset_of, read_head
from lightning_onnx.onnxfile.shared_weights import size_of
from lightning_onnx.runtimes import base as runtimes
from lightning_onnx.runtimes.worker import client
from lightning_onnx.variants import budget
from lightning_onnx.variants.base import Making, SaveProgram, Variant, file_name, form_of

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class VariantResult:
    """The result of a variant.

    Attributes:
        record: Its entry in the manifest.
        scalars: The scalars for loggers, by the name after ``onnx/``.
    """

    record: VariantRecord
    scalars: dict[str, float]


@dataclasses.dataclass(frozen=True)
class LooseParity(Parity):
    """Parity for a model that may differ; a share of its integers, such as classes, may differ too.

    Args:
        atol: How much floats may differ, as a share of their scale; also the share of integers that may differ.
    """

    rtol: float | None = 0.0
    atol: float | None = 0.01

    @override
    def compare_output(self, name: str, expected: Array, actual: Array, scales: Scales | None = None) -> Comparison:
        found = super().compare_output(name, expected, actual, scales)
        whole = not np.issubdtype(expected.dtype, np.inexact)
        if whole and found.kind == "values" and found.outside <= (self.atol or 0.0):
            return dataclasses.replace(found, problem=None)
        return found


def make(
    variants: Sequence[Variant],
    context: CheckContext,
    *,
    parity: Parity | None = None,
    metrics: MetricParity | None = None,
    target: str | None = None,
    save_program: SaveProgram | None = None,
) -> list[VariantResult]:
    """Make and check variants next to the staged model; the files of those that do not pass are removed.

    Args:
        variants: The variants.
        context: The context of checks.
        parity: How the outputs of ``model.onnx`` are compared; default: ``Parity()``.
        metrics: Runs the validation loop; default: ``MetricParity()``.
        target: The program for which the model's opset was chosen.
        save_program: Saves the captured program with the weights of the model; None if there is none.
    """
    options = (parity or Parity(), metrics or MetricParity(), target, save_program)
    return [_Maker(variant, context, *options).run() for variant in variants]


def not_made(variants: Sequence[Variant], reason: str) -> list[VariantResult]:
    """Return the results of variants that are skipped for one reason."""
    return [_judged(variant, "skipped", reason) for variant in variants]


@dataclasses.dataclass(frozen=True)
class _File:
    """The file of a variant; ``size`` in bytes includes the file of large weights."""

    name: str
    sha256: str
    bytes: int
    size: int
    opset: int | None


class _Maker:
    """Makes one variant: holds its file, its process, and its results so far."""

    def __init__(
        self,
        variant: Variant,
        context: CheckContext,
        parity: Parity,
        metrics: MetricParity,
        target: str | None,
        save_program: SaveProgram | None,
    ) -> None:
        self.variant = variant
        self.metrics = metrics
        self.original = context.model_path.resolve()  # its process works in another directory
        self.path = self.original.with_name(file_name(variant, self.original.stem))
        self.form = form_of(variant)
        self.runtime = client.hosted(self.form.runtime, own_process=True, threads=1)
        self.making = Making(self.original, context, self.runtime, target, save_program)
        allowed = variant.max_difference
        # The tolerance of a variant is a share of the outputs' scale: on all-zero images it would be meaningless.
        cases = tuple(c for c in context.cases if allowed is None or c.kind not in ("values", "decision"))
        self.context = context.replace(model_path=self.path, runtime=self.runtime, cases=cases)
        self.parity = parity if allowed is None else LooseParity(atol=allowed)
        self.notes: list[str] = []
        self.results: list[CheckResult] = []
        self.figures: dict[str, Any] = {}

    def run(self) -> VariantResult:
        status, reason = self._status()
        file = self._file()
        if status != "passed":
            for path in self._paths():
                path.unlink()
        return _judged(self.variant, status, reason, file, results=self.results, figures=self.figures, notes=self.notes)

    def _status(self) -> tuple[Status, str | None]:
        try:
            self.notes += map(_portable, self.variant.make(self.making, self.path))
            if not self.path.is_file():
                return "failed", f"{type(self.variant).__name__} wrote no {self.path.name}"
            problems = self.making.call(self.form.problems, str(self.original), str(self.path))
            if problems:
                return "failed", _portable("; ".join(problems))
            return self._checked()
        except (RuntimeUnavailable, VariantNotApplicable) as error:
            return "skipped", str(error)
        except Exception as error:  # any exception of a converter or a runtime is reported
            log.debug("variant %s", self.variant.name, exc_info=True)
            return "failed", _portable(f"it could not be made: {first_line(error)}")
        finally:
            self.runtime.close()

    def _checked(self) -> tuple[Status, str | None]:
        """Run all checks, even after one has failed, so that its figures are recorded."""
        self.results.append(self._result("parity", lambda: self.parity(self.context)))
        self.results.append(self._result("metrics", lambda: budget.check(self.variant, self.context, self.metrics)))
        outputs = self.results[0].figures.get("outputs", {})
        self.figures["worst_difference"] = max((o["max_rel_diff"] for o in outputs.values()), default=None)
        self.figures["latency_ratio"] = self._latency_ratio()
        self.figures |= self._on_test_data()
        parity = self.results[0]
        failed = [r for r in self.results if r.status == "failed"]
        if failed:
            return "failed", "; ".join(f"{r.name}: {r.reason}" for r in failed)
        if parity.status == "skipped":
            return "skipped", f"it cannot be compared with the module: {parity.reason}"
        return "passed", "; ".join(r.reason for r in self.results if r.reason and r.status == "passed") or None

    def _result(self, name: str, run: Callable[[], CheckResult]) -> CheckResult:
        try:
            return run()
        except Exception as error:
            log.debug("%s of variant %s", name, self.variant.name, exc_info=True)
            return CheckResult(name, "failed", _portable(first_line(error)))

    def _on_test_data(self) -> dict[str, float]:
        """Return how much outputs differ on the test data, which ``lightning-onnx check`` measures again."""
        sets = data_set.find_data_sets(data_set.folder_of(self.path))
        if not sets or self.variant.max_difference is None:
            return {}
        found = stored_data.check(self.path, sets, self.form.runtime, 0.0, 0.0, runtime=self.runtime)
        return {"test_data_difference": found["worst_difference"]} if "worst_difference" in found else {}

    def _latency_ratio(self) -> float | None:
        """Return the time of a call divided by that of ``model.onnx``; None if one of them does not run."""
        if not self.context.cases:
            return None
        try:
            inputs = feeds(self.context.signature.inputs, self.context.cases[0].tensors)
            with contextlib.ExitStack() as stack:
                of_original = self.runtime
                if self.form.runtime != runtimes.DEFAULT:
                    of_original = client.hosted(runtimes.DEFAULT, own_process=True, threads=1)
                    stack.callback(of_original.close)
                return latency_ratio(self.runtime.load(self.path), of_original.load(self.original), inputs)
        except Exception:
            log.debug("latency of variant %s", self.variant.name, exc_info=True)
            return None

    def _file(self) -> _File | None:
        """Describe the file; None if there is none."""
        if not self.path.is_file():
            return None
        size = sum(f.stat().st_size for f in self._paths())
        self.figures = {"size_ratio": float(f"{size / size_of(self.original):.3g}"), **self.figures}
        try:
            opset = opset_of(read_head(self.path))
        except Exception:
            opset = None
        described = describe_file(self.path)
        return _File(self.path.name, described.sha256, described.bytes, size, opset)

    def _paths(self) -> list[Path]:
        return [p for p in (self.path, self.path.with_name(f"{self.path.name}.data")) if p.exists()]


def _portable(text: str) -> str:
    """Return a message for the manifest: with file names, but without directories."""
    return privacy.without_paths(re.sub(r"\bWorker(Error|Ended|Replaced): ", "", text))


def _judged(
    variant: Variant,
    status: Status,
    reason: str | None,
    file: _File | None = None,
    *,
    results: Sequence[CheckResult] = (),
    figures: Mapping[str, Any] = MappingProxyType({}),
    notes: Sequence[str] = (),
) -> VariantResult:
    kept = status == "passed"
    record = VariantRecord(
        name=variant.name,
        class_name=type(variant).__name__,
        file=file.name if file and kept else None,
        sha256=file.sha256 if file and kept else None,
        bytes=file.bytes if file else None,
        opset=file.opset if file else None,
        status=status,
        reason=reason,
        options=_options(variant),
        checks=tuple(results),
        figures=dict(figures),
        notes=tuple(notes),
    )
    scalars = {"passed": float(status == "passed")}
    if file:
        scalars["size_mib"] = file.size / 2**20
    for key, scalar in (("latency_ratio", "latency_ratio"), ("worst_difference", "max_rel_diff")):
        if figures.get(key) is not None:
            scalars[scalar] = figures[key]
    for result in results:
        if result.name == budget.NAME:
            scalars |= result.scalars
    return VariantResult(record, {f"{variant.name}_{key}": value for key, value in scalars.items()})


def _options(variant: object) -> dict[str, Any]:
    """Return the options as JSON values; a user's own variant may not be a dataclass."""
    if not dataclasses.is_dataclass(variant):
        return {}
    values = {f.name: getattr(variant, f.name) for f in dataclasses.fields(variant) if f.init and f.name != "name"}
    return {k: v if v is None or isinstance(v, (bool, int, float, str)) else _plain(v) for k, v in values.items()}


def _plain(value: object) -> str | list[str]:
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else str(value)
