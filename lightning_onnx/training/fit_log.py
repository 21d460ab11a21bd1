"""Messages for the user during a fit: lines on the terminal, and a list of the failures."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.errors import NotReadyError, SearchTooLong
from lightning_onnx.manifest.figures import ComparisonFigures
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.notices import info, warn
from lightning_onnx.printable import printable
from lightning_onnx.report import wording
from lightning_onnx.report.report import HTML


class FitLog:
    """Collects the failures of one fit, and warns about each.

    Attributes:
        errors: The exceptions, oldest first.
        failures: One sentence for each exception, failed check and failed variant, and for a best artifact
            that is missing, oldest first.
    """

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.failures: list[str] = []
        self._waited_for = ""
        self._told: set[str] = set()

    def record(self, error: BaseException, what: str = "export failed") -> None:
        """Record an exception, and warn about it.

        Args:
            error: The exception. If the export has waited for training to end it, the record says so.
            what: What failed, as a phrase.
        """
        if isinstance(error, NotReadyError) and str(error) == self._waited_for:
            cause = error.__cause__
            error = NotReadyError(
                f"{error} This was the same before training: if training is not meant to change it, the method has an "
                "error."
            )
            error.__cause__ = cause
        self.errors.append(error)
        self.failures.append(printable(f"{what}: {type(error).__name__}: {error}"))
        told = self.failures[-1]
        warn(f"ONNX {told}" if what.startswith("export") else f"ONNX export: {told}")

    @contextlib.contextmanager
    def recorded(self, what: str = "export failed") -> Iterator[None]:
        """Record an exception of the block; what follows the block goes on.

        Args:
            what: As for ``record``.
        """
        try:
            yield
        except Exception as error:  # remote file systems have errors of their own
            self.record(error, what)

    def refuse(self, what: str, reason: str, consequence: str) -> None:
        """Record why the best artifact is missing, and warn about it.

        Args:
            what: What is missing.
            reason: Why; a warning that was given just before is not repeated.
            consequence: What follows from it.
        """
        is_told = bool(self.failures) and reason in self.failures[-1]
        self.failures.append(f"{what}: {reason}; {consequence}")
        warn(f"ONNX export: {what}, as told above; {consequence}" if is_told else f"ONNX export: {self.failures[-1]}")

    def wait(self, error: NotReadyError) -> None:
        """Say once that the export waits for a module that training has yet to finish.

        Args:
            error: Why the module does not run yet.
        """
        if not self._waited_for:
            self._waited_for = str(error)
            reason = " ".join(str(error).split())
            warn(
                f"ONNX export waits for training to finish the module: {reason} It tries again after each validation, "
                "and the end of training decides."
            )

    def postpone(self, error: SearchTooLong) -> None:
        """Say that preflight has ended without a graph, and that training goes on.

        Args:
            error: What was searched for.
        """
        warn(f"ONNX export is left to the end of training, which takes the time that it needs: {error}.")

    def report(self, artifact: ONNXArtifact) -> None:
        """Tell of each check and variant of a new artifact that did not pass, and record the failed ones.

        Args:
            artifact: The artifact.
        """
        records = artifact.record.by_method
        for method, record in records.items():
            self._report_method(record, f"{method}: " if len(records) > 1 else "")

    def _report_method(self, record: Manifest, prefix: str) -> None:
        for check in record.checks:
            warns = bool(ComparisonFigures.find(check.figures).warnings)
            self._report(f"{prefix}{check.name}", check.status, check.reason, warns)
        for variant in record.variants:
            self._report(f"{prefix}variant {variant.name}", variant.status, variant.reason, False)
        told = None if record.contract is None else record.contract.warning
        if told is not None and told not in self._told:  # once, not for each checkpoint
            self._told.add(told)
            warn(f"ONNX export: {told}")

    def tell_place(self, artifact: ONNXArtifact, place: str) -> None:
        """Tell where an artifact was written, and how long it took.

        Args:
            artifact: The artifact.
            place: Path or URL where it stays.
        """
        info(f"ONNX export: wrote {place} in {_seconds(artifact.record)}")

    def conclude(self, artifact: ONNXArtifact, place: str) -> None:
        """Tell at the end of a run where its artifact is, the verdict, its figures and what to do next.

        Args:
            artifact: The run's artifact.
            place: Path or URL where it stays.
        """
        record = artifact.record
        found = [
            *(wording.file_line(own) for own in record.by_method.values()),
            f"weights: {wording.weights_line(record)}",
            *wording.largest_difference(record),
        ]
        figures = f"{'; '.join(found)}; exported in {_seconds(record)}"
        if "://" in place:
            then = f"copy {place} to a disk and run lightning-onnx check on the copy"
        else:
            then = f"lightning-onnx check {shlex.quote(place)}"
        for line in (place, artifact.report.summary, figures, f"next: {then}; the report is {HTML} there"):
            info(f"ONNX export: {line}")

    def _report(self, name: str, status: str, reason: str | None, warns: bool) -> None:
        line = printable(f"ONNX export: {name} {status}" + (f": {reason}" if reason else ""))
        if status != "passed" or warns:
            warn(line)
        if status == "failed":
            self.failures.append(line)


def _seconds(record: Manifest) -> str:
    return f"{record.scalars['export_seconds']:.1f} s"
