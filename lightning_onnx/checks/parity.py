"""Are the outputs of the ONNX file those of the module? ``comparison`` says how two arrays compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from torch import Tensor

from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.comparison import Array, Comparison, compare_arrays
from lightning_onnx.checks.divergence import find_divergence
from lightning_onnx.checks.noise import excuse_noise, find_random_outputs
from lightning_onnx.checks.outcomes import CaseOutcome, summarize
from lightning_onnx.errors import ConfigurationError, first_line
from lightning_onnx.module.arrays import feeds, to_numpy
from lightning_onnx.module.cases import Case
from lightning_onnx.runtimes.base import Session


@dataclasses.dataclass(frozen=True)
class Parity:
    """Compares a runtime with the module on observed inputs and at sizes that were not traced.

    Args:
        rtol: Relative tolerance for floats; default: by dtype, see ``DEFAULT_TOLERANCES``.
        atol: Tolerance as a share of the output's largest magnitude; default: by dtype.

    Raises:
        ConfigurationError: If a tolerance is negative or NaN.

    Example:
        >>> Parity(rtol=1e-3).name
        'parity'
    """

    rtol: float | None = None
    atol: float | None = None
    name: str = dataclasses.field(default="parity", init=False)

    def __post_init__(self) -> None:
        """Check the tolerances."""
        for option in ("rtol", "atol"):
            value = getattr(self, option)
            if value is not None and not value >= 0:
                raise ConfigurationError(f"Parity({option}={value!r}): a tolerance is a number of at least 0.")

    def __call__(self, context: CheckContext) -> CheckResult:
        """Run all cases."""
        if not context.cases:
            reason = "there are no inputs to compare on"
            return CheckResult(self.name, "skipped", reason, scalars={"parity_passed": 0.0})
        session = context.runtime.load(context.model_path)
        expected = context.reference(context.cases[0].tensors)
        random_outputs = find_random_outputs(context, context.cases[0], expected)
        first = dataclasses.replace(context.cases[0], expected=tuple(expected))
        outcomes = [self.judge(session, context, case, random_outputs) for case in (first, *context.cases[1:])]
        result = _with_kept_state(summarize(self.name, outcomes, random_outputs, context), context)
        return self._with_divergence(result, outcomes, context) if result.status == "failed" else result

    def _with_divergence(
        self, result: CheckResult, outcomes: Sequence[CaseOutcome], context: CheckContext
    ) -> CheckResult:
        """Add where the file first differs from the module, if that can be found."""
        outcome = next(o for o in outcomes if o.result == "failed")
        found = find_divergence(context, outcome.case, outcome.failures[0].output, self.compare_output)
        if found is None:
            return result
        figures = result.figures | {"first_difference": found.figures()}
        return dataclasses.replace(result, reason=f"{result.reason}; {found}", figures=figures)

    def judge(
        self, session: Session, context: CheckContext, case: Case, random_outputs: Collection[str] = ()
    ) -> CaseOutcome:
        """Compare all outputs of one case, and excuse what noise or random numbers explain.

        Args:
            session: The loaded file.
            context: The module.
            case: The inputs.
            random_outputs: Outputs whose values and shapes cannot be compared.
        """
        may_refuse = case.kind in ("values", "decision")
        try:
            expected = context.reference(case.tensors) if case.expected is None else case.expected
        except Exception as error:
            if not may_refuse:
                raise
            problem = f"the module does not take these values: {first_line(error)}"
            return CaseOutcome(case, (Comparison(_first_output(context), problem, excuse="refused"),))
        compared = self._compare(session, context, case, expected)
        if may_refuse:
            compared = [dataclasses.replace(c, excuse="undefined") if c.undefined else c for c in compared]
        compared = excuse_noise(compared, context, case, expected)
        return CaseOutcome(case, tuple(_excuse_random(c, random_outputs) for c in compared))

    def _compare(
        self, session: Session, context: CheckContext, case: Case, expected: Sequence[Tensor]
    ) -> list[Comparison]:
        names = [spec.name for spec in context.signature.outputs]
        first = _first_output(context)
        try:
            actual = session.run(feeds(context.signature.inputs, case.tensors))
        except Exception as error:  # whatever a runtime raises is a finding
            return [Comparison(first, f"{context.runtime.name} failed: {first_line(error)}")]
        if list(actual) != names or len(expected) != len(names):
            return [Comparison(first, f"outputs are {list(actual)}, the module gives {len(expected)} for {names}")]
        return [self.compare_output(n, to_numpy(e), actual[n]) for n, e in zip(names, expected, strict=True)]

    def compare_output(self, name: str, expected: Array, actual: Array) -> Comparison:
        """Compare one output.

        Args:
            name: Its name.
            expected: The module's array.
            actual: The runtime's array.
        """
        return compare_arrays(name, expected, actual, self.rtol, self.atol)


def _first_output(context: CheckContext) -> str:
    """Return the name under which a problem of all outputs is told."""
    names = [spec.name for spec in context.signature.outputs]
    return names[0] if names else "output"


def _with_kept_state(result: CheckResult, context: CheckContext) -> CheckResult:
    """Add to the reason that the module keeps state, where it does."""
    if not context.module.kept_state:
        return result
    reason = f"the module keeps state between calls ({context.module.kept_state}); all are compared from the same state"
    return dataclasses.replace(result, reason=f"{result.reason}; {reason}" if result.reason else reason)


def _excuse_random(comparison: Comparison, random_outputs: Collection[str]) -> Comparison:
    is_random = comparison.output in random_outputs and comparison.kind in ("values", "shape")
    return dataclasses.replace(comparison, excuse="random") if comparison.is_failure and is_random else comparison
