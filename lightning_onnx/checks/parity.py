"""Compares the outputs of the ONNX file with the module's; ``comparison`` defines how two arrays are compared."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
from torch import Tensor

from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.comparison import Array, Comparison, compare_arrays, tolerances
from lightning_onnx.checks.divergence import find_divergence
from lightning_onnx.checks.imprecise import imprecise_operators
from lightning_onnx.checks.integer_kernels import REASON, IntegerKernels
from lightning_onnx.checks.noise import ChangedRuns, ComparedOutput, excuse_noise, find_random_outputs, has_hidden_state
from lightning_onnx.checks.outcomes import CaseOutcome, summarize
from lightning_onnx.checks.scales import Scales, raised_by_noise, scales_of
from lightning_onnx.errors import first_line
from lightning_onnx.module.arrays import feeds, to_numpy
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.weights.non_finite import non_finite_weights
from lightning_onnx.option_names import known_options
from lightning_onnx.option_values import check_number
from lightning_onnx.runtimes.base import Arrays, RunsAhead, Session

_HIDDEN_STATE = (
    "the module keeps state between calls that cannot be put back, such as an iterator, a file or the time: "
    "further calls on the same inputs return other values, though they draw no random numbers"
)


@known_options
@dataclasses.dataclass(frozen=True)
class Parity:
    """Compares a runtime with the module on observed inputs, on other values, and at sizes that were not traced.

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
        check_number(self, "rtol")
        check_number(self, "atol")

    def __call__(self, context: CheckContext) -> CheckResult:
        """Run all cases."""
        if not context.cases:
            reason = "there are no inputs to compare on"
            return CheckResult(self.name, "skipped", reason, scalars={"parity_passed": 0.0})
        session = context.session
        first, random_outputs = context.cases[0], tuple[str, ...]()
        if context.module.is_stochastic:
            first = dataclasses.replace(first, expected=tuple(context.reference(first.tensors)))
            random_outputs = find_random_outputs(context, first, first.expected or ())
        outcomes = list(self.judge_each(session, context, (first, *context.cases[1:]), random_outputs))
        result = _with_kept_state(summarize(self.name, outcomes, random_outputs, context), context)
        is_in_doubt = result.status == "failed" or any(c.excuse == "noise" for o in outcomes for c in o.comparisons)
        if is_in_doubt and not random_outputs and has_hidden_state(context, first, self.compare_output):
            return _without_proof(result)
        result = self._with_cause(result, outcomes, context) if result.status == "failed" else result
        return _with_imprecise_operators(result, outcomes, context) if is_in_doubt else result

    def _with_cause(self, result: CheckResult, outcomes: Sequence[CaseOutcome], context: CheckContext) -> CheckResult:
        """Add the cause: weights that are not finite, the runtime, or the place where the file first differs."""
        outcome = next(o for o in outcomes if o.result == "failed")
        if outcome.failures[0].concerns_non_finite and isinstance(context.module.flat, FlatModule):
            weights = non_finite_weights(context.module.flat.module)
            if weights is not None:
                return dataclasses.replace(result, reason=f"{weights}; {result.reason}")
        if IntegerKernels(context, self.judge).are_at_fault(outcome.case):
            return _with_reason(result, REASON)
        found = find_divergence(context, outcome.case, outcome.failures[0].output, self._compare_inner)
        if found is None:
            return result
        figures = result.figures | {"first_difference": found.figures()}
        return dataclasses.replace(result, reason=f"{result.reason}; {found}", figures=figures)

    def judge(
        self, session: Session, context: CheckContext, case: Case, random_outputs: Collection[str] = ()
    ) -> CaseOutcome:
        """Compare all outputs of one case: see ``judge_each``."""
        (outcome,) = self.judge_each(session, context, [case], random_outputs)
        return outcome

    def judge_each(
        self, session: Session, context: CheckContext, cases: Iterable[Case], random_outputs: Collection[str] = ()
    ) -> Iterator[CaseOutcome]:
        """Compare all outputs of each case, and excuse differences explained by noise or random numbers.

        What ``context.judgements`` remembers is not compared again. If the session can run ahead, the file runs on one
        case while the module runs on the next.

        Args:
            session: The loaded file.
            context: The module.
            cases: The inputs.
            random_outputs: Outputs whose values and shapes cannot be compared.
        """
        begun = (self._begun(session, context, case, random_outputs) for case in cases)
        for outcome, _ in itertools.pairwise(itertools.chain(begun, [None])):
            assert outcome is not None
            yield outcome()

    def _begun(
        self, session: Session, context: CheckContext, case: Case, random_outputs: Collection[str]
    ) -> Callable[[], CaseOutcome]:
        """Run the module on a case and start to run the file; return what compares the two."""
        judged = None if random_outputs else context.judgements
        known = None if judged is None else judged.of(self, case)
        if known is not None:
            remembered = CaseOutcome(case, known)
            return lambda: remembered
        compare = self._comparing(session, context, case, random_outputs)

        def outcome() -> CaseOutcome:
            comparisons = compare()
            if judged is not None:
                judged.add(self, case, comparisons)
            return CaseOutcome(case, comparisons)

        return outcome

    def _comparing(
        self, session: Session, context: CheckContext, case: Case, random_outputs: Collection[str]
    ) -> Callable[[], tuple[Comparison, ...]]:
        try:
            expected = context.reference(case.tensors) if case.expected is None else case.expected
        except Exception as error:  # then the file does not run: not every kernel checks its indices
            if not case.may_be_refused:
                raise
            problem = f"the module does not take these values: {first_line(error)}"
            refused = Comparison(_first_output(context), problem, excuse="refused")
            return lambda: (refused,)
        outputs = _outputs(session, context, case)
        return functools.partial(self._judged, outputs, context, case, tuple(expected), random_outputs)

    def _judged(
        self,
        outputs: Callable[[], Arrays],
        context: CheckContext,
        case: Case,
        expected: Sequence[Tensor],
        random_outputs: Collection[str],
    ) -> tuple[Comparison, ...]:
        actual = _actual(outputs, context, len(expected))
        if isinstance(actual, Comparison):
            return (actual,)
        changed = ChangedRuns(context, case)
        names = (spec.name for spec in context.signature.outputs)
        compared = [
            self._compared(name, to_numpy(tensor), actual[name], changed)
            for name, tensor in zip(names, expected, strict=False)
        ]
        excused = [_excuse_undefined(output, case) for output in compared]
        judged = [excuse_noise(output, changed, self.compare_output) for output in excused]
        return tuple(_excuse_random(c, random_outputs) for c in judged)

    def _compared(self, name: str, expected: Array, actual: Array, changed: ChangedRuns) -> ComparedOutput:
        """Compare one output; if it is wrong by the scales of its slices, again with those raised by their noise.

        More noise only raises scales, so the module is run no further once the output is right.
        """
        found = self.compare_output(name, expected, actual)
        if not (found.sliced and found.is_failure):
            return ComparedOutput(expected, actual, found)
        output = ComparedOutput(expected, actual, found, scales_of(expected))
        atol = tolerances(expected.dtype, self.rtol, self.atol)[1]
        for scales in raised_by_noise(scales_of(expected), expected, changed.of(name), atol):
            compared = self.compare_output(name, expected, actual, scales)
            output = ComparedOutput(expected, actual, compared, scales)
            if compared.problem is None:
                break
        return output

    def compare_output(self, name: str, expected: Array, actual: Array, scales: Scales | None = None) -> Comparison:
        """Compare one output.

        Args:
            name: Name of the output.
            expected: The module's array.
            actual: The runtime's array.
            scales: The scale of each element; default: the largest magnitude of the output or of its slices.
        """
        return compare_arrays(name, expected, actual, self.rtol, self.atol, scales)

    def _compare_inner(self, name: str, expected: Array, actual: Array) -> Comparison:
        """Compare an inner value by its largest magnitude, because some of its slices may be rounding noise."""
        is_inexact = np.issubdtype(expected.dtype, np.inexact)
        whole = np.abs(expected[np.isfinite(expected)]).max(initial=0.0) if is_inexact else 0.0
        return self.compare_output(name, expected, actual, np.asarray(whole, np.float64))


def _outputs(session: Session, context: CheckContext, case: Case) -> Callable[[], Arrays]:
    """Return what waits for the outputs of the file, which runs meanwhile if the session can do that."""

    def run() -> Arrays:
        return session.run(feeds(context.signature.inputs, case.tensors))

    if not isinstance(session, RunsAhead):
        return run
    try:
        return session.begin(feeds(context.signature.inputs, case.tensors))
    except Exception:  # told where its outputs are needed
        return run


def _actual(outputs: Callable[[], Arrays], context: CheckContext, number: int) -> Arrays | Comparison:
    """Return the outputs of the file by name, or a problem with all of them.

    Args:
        outputs: Returns them.
        context: The runtime, and the names.
        number: How many outputs the module returns.
    """
    names = [spec.name for spec in context.signature.outputs]
    first = _first_output(context)
    try:
        actual = outputs()
    except Exception as error:  # any exception of a runtime is reported
        return Comparison(first, f"{context.runtime.name} failed: {first_line(error)}")
    if list(actual) != names or number != len(names):
        return Comparison(first, f"outputs are {list(actual)}, but the module returns {number} for {names}")
    return actual


def _first_output(context: CheckContext) -> str:
    """Return the output name used to report a problem with all outputs."""
    names = [spec.name for spec in context.signature.outputs]
    return names[0] if names else "output"


def _with_kept_state(result: CheckResult, context: CheckContext) -> CheckResult:
    """Add to the reason that the module keeps state, if it does."""
    if not context.module.kept_state:
        return result
    reason = f"the module keeps state between calls ({context.module.kept_state}); all calls start from the same one"
    return _with_reason(result, reason)


def _with_imprecise_operators(
    result: CheckResult, outcomes: Sequence[CaseOutcome], context: CheckContext
) -> CheckResult:
    """Add operators that the runtime computes less precisely, if outputs that need a tolerance depend on them."""
    if context.runtime.name != "onnxruntime":
        return result
    compared = (c for outcome in outcomes for c in outcome.comparisons)
    needed = {c.output for c in compared if c.kind == "values" and (c.is_failure or c.excuse == "noise")}
    dims = (pair for case in context.cases[:1] for s, t in zip(context.signature.inputs, case.tensors, strict=True)
            for pair in zip(s.shape, t.shape, strict=True))  # fmt: skip
    sizes = {name: size for name, size in dims if isinstance(name, str)}
    found = imprecise_operators(context.model_path, needed, sizes)
    return result if found is None else _with_reason(result, found)


def _with_reason(result: CheckResult, reason: str) -> CheckResult:
    """Return the result with a further reason."""
    return dataclasses.replace(result, reason=f"{result.reason}; {reason}" if result.reason else reason)


def _without_proof(result: CheckResult) -> CheckResult:
    """Return the result for a module with state that cannot be put back: no comparison says anything about rounding."""
    if result.status == "failed":
        return dataclasses.replace(result, reason=f"{_HIDDEN_STATE}; {result.reason}")
    scalars = {**result.scalars, "parity_passed": 0.0}
    return dataclasses.replace(result, status="skipped", reason=_HIDDEN_STATE, scalars=scalars)


def _excuse_undefined(output: ComparedOutput, case: Case) -> ComparedOutput:
    """Excuse what the module itself does not define: on values, or as a whole at sizes, that were not observed."""
    found = output.comparison
    if found.undefined and (case.may_be_refused or (case.kind == "resized" and found.kind is None)):
        return dataclasses.replace(output, comparison=dataclasses.replace(found, excuse="undefined"))
    return output


def _excuse_random(comparison: Comparison, random_outputs: Collection[str]) -> Comparison:
    is_random = comparison.output in random_outputs and comparison.kind in ("values", "shape")
    return dataclasses.replace(comparison, excuse="random") if comparison.is_failure and is_random else comparison
