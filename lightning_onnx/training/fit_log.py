"""Messages for the user during a fit: lines on the terminal, and a list of the failures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lightning.pytorch.utilities import rank_zero_info

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.errors import NotReadyError
from lightning_onnx.manifest.figures import ComparisonFigures
from lightning_onnx.notices import warn
from lightning_onnx.printable import printable


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

    def record(self, error: BaseException, what: str = "failed") -> None:
        """Record an exception, and warn about it.

        Args:
            error: The exception. If the export has waited for training to end it, the record says so.
            what: What failed; follows the words "ONNX export".
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
        warn(f"ONNX export {self.failures[-1]}")

    @contextlib.contextmanager
    def recorded(self, what: str = "failed") -> Iterator[None]:
        """Record an exception of the block; what follows the block goes on.

        Args:
            what: As for ``record``.
        """
        try:
            yield
        except Exception as error:  # remote file systems have errors of their own
            self.record(error, what)

    def refuse(self, reason: str) -> None:
        """Record why the best artifact is missing, and warn about it.

        Args:
            reason: A sentence.
        """
        self.failures.append(reason)
        warn(f"ONNX export: {reason}")

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

    def report(self, artifact: ONNXArtifact) -> None:
        """Print the results of a new artifact's checks and variants, and record the failed ones."""
        record = artifact.record
        for check in record.checks:
            warns = bool(ComparisonFigures.find(check.figures).warnings)
            self._report(check.name, check.status, check.reason, warns)
        for variant in record.variants:
            self._report(f"variant {variant.name}", variant.status, variant.reason, False)
        told = None if record.contract is None else record.contract.warning
        if told is not None and told not in self._told:  # once, not for each checkpoint
            self._told.add(told)
            warn(f"ONNX export: {printable(told)}")
        rank_zero_info(printable(f"ONNX export: wrote {artifact.directory} in {record.scalars['export_seconds']} s"))

    def _report(self, name: str, status: str, reason: str | None, warns: bool) -> None:
        line = printable(f"ONNX export: {name} {status}" + (f": {reason}" if reason else ""))
        if status == "passed" and not warns:
            rank_zero_info(line)
        else:
            warn(line)
        if status == "failed":
            self.failures.append(line)
