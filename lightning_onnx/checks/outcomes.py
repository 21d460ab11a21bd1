"""The outcomes of parity by case, and their summary: the status, the reason and the figures of the check."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.comparison import RATIO_EDGES, Comparison
from lightning_onnx.manifest.results import Status
from lightning_onnx.module.cases import Case

CaseResult = Literal["passed", "failed", "warning", "undecidable"]
"""The result of a case. ``"warning"``: wrong on values beyond those observed. ``"undecidable"``: says nothing about the
file, because the module itself is not stable there, returns nothing finite, or does not take the values."""

_WORST = ("max_abs_diff", "max_rel_diff", "outside", "needed_atol")
"""Figures of which the maximum over all cases is reported."""


@dataclasses.dataclass(frozen=True)
class CaseOutcome:
    """The outcome of one case.

    Attributes:
        case: The inputs.
        comparisons: One for each output; a single one if the runtime failed or returned other outputs.
    """

    case: Case
    comparisons: tuple[Comparison, ...]

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """The outputs that are wrong."""
        return tuple(c for c in self.comparisons if c.is_failure)

    @property
    def result(self) -> CaseResult:
        """The result of the case."""
        if self.failures:
            return "warning" if self.case.may_be_wrong else "failed"
        return "undecidable" if any(c.is_undecided for c in self.comparisons) else "passed"

    @property
    def problems(self) -> list[str]:
        """A clause for each wrong output."""
        return [f"{c.output} at {self.case.label}: {c.problem}" for c in self.failures]


def summarize(
    name: str, outcomes: Sequence[CaseOutcome], random_outputs: Sequence[str], context: CheckContext
) -> CheckResult:
    """Return the result of the check: failed if any case failed.

    Args:
        name: Name of the check.
        outcomes: The outcomes of all cases; at least one.
        random_outputs: Outputs that cannot be compared, because the module draws random numbers.
        context: The runtime that was used.
    """
    by_output = _by_output(outcomes)
    outputs = {output: _figures_of(rows) for output, rows in by_output.items()}
    empty = [output for output, rows in by_output.items() if all(c.is_empty for _, c in rows)]
    problems = [problem for o in outcomes if o.result == "failed" for problem in o.problems]
    beyond = [problem for o in outcomes if o.result == "warning" for problem in o.problems]
    real = [o for o in outcomes if o.case.kind not in ("values", "decision")]
    unstable = _noisy(real, is_small=False)
    status, reason = _verdict(
        problems,
        random=random_outputs,
        unstable=sorted(set(unstable) - _decided(real)),
        is_empty=len(empty) == len(outputs),
        weaknesses=_weaknesses(outcomes, real, outputs, empty, beyond),
    )
    figures = {
        "runtime": context.runtime.name,
        "runtime_version": context.runtime.version(),
        "outputs": outputs,
        "ratio_edges": list(RATIO_EDGES),
        "cases": list(dict.fromkeys(outcome.case.label for outcome in outcomes)),
        "outcomes": _results(outcomes),
        "problems": problems,
        "warnings": beyond,
        "random_outputs": list(random_outputs),
        "unstable_outputs": unstable,
    }
    scalars = {
        "parity_passed": float(status == "passed"),
        "max_abs_diff": max(figures["max_abs_diff"] for figures in outputs.values()),
        "max_rel_diff": max(figures["max_rel_diff"] for figures in outputs.values()),
    }
    notes = tuple(f"the file is wrong on values beyond those observed: {problem}" for problem in beyond)
    return CheckResult(name, status, reason, figures, scalars, notes)


def _by_output(outcomes: Sequence[CaseOutcome]) -> dict[str, list[tuple[Case, Comparison]]]:
    """Return the decisive comparisons of each output; if there are none, all its comparisons."""
    found: dict[str, list[tuple[Case, Comparison]]] = {}
    decisive: dict[str, list[tuple[Case, Comparison]]] = {}
    for outcome in outcomes:
        for comparison in outcome.comparisons:
            row = outcome.case, comparison
            found.setdefault(comparison.output, []).append(row)
            if not comparison.is_undecided and not (comparison.is_failure and outcome.case.may_be_wrong):
                decisive.setdefault(comparison.output, []).append(row)
    return {output: decisive.get(output, rows) for output, rows in found.items()}


def _results(outcomes: Sequence[CaseOutcome]) -> dict[str, CaseResult]:
    """Return the result of each case by label; the worst one for cases with the same label."""
    worst: tuple[CaseResult, ...] = ("failed", "warning", "undecidable", "passed")
    found: dict[str, CaseResult] = {}
    for outcome in outcomes:
        label = outcome.case.label
        found[label] = min(outcome.result, found.get(label, "passed"), key=worst.index)
    return found


def _decided(outcomes: Sequence[CaseOutcome]) -> set[str]:
    """Return the outputs that could be compared in at least one case."""
    return {c.output for outcome in outcomes for c in outcome.comparisons if not c.is_undecided}


def _noisy(outcomes: Sequence[CaseOutcome], is_small: bool) -> list[str]:
    """Return the outputs with a problem excused as noise, with either small or larger differences."""
    comparisons = (c for outcome in outcomes for c in outcome.comparisons)
    return sorted({c.output for c in comparisons if c.excuse == "noise" and c.is_small == is_small})


def _verdict(
    problems: Sequence[str],
    *,
    random: Sequence[str],
    unstable: Sequence[str],
    is_empty: bool,
    weaknesses: Sequence[str],
) -> tuple[Status, str | None]:
    """Return the status and its reason.

    Args:
        problems: The problems.
        random: Outputs that are random.
        unstable: Outputs that could not be compared in any case, because the differences may be noise.
        is_empty: Whether no output has an element in any case.
        weaknesses: What makes a passed check weak.
    """
    if problems:
        return "failed", problems[0]
    if random:
        return "skipped", (
            f"the module draws random numbers in eval mode: two calls on the same inputs differ in {list(random)}, "
            "so they cannot be compared"
        )
    if unstable:
        return "skipped", (
            f"{list(unstable)} cannot be compared: the module returns other values when its inputs or weights change "
            "by rounding; its decisions depend on differences that are noise"
        )
    if is_empty:
        return (
            "skipped",
            "no output has an element in any case, so nothing was compared: give one that is not empty",
        )
    return "passed", "; ".join(weaknesses) or None


def _weaknesses(
    outcomes: Sequence[CaseOutcome],
    real: Sequence[CaseOutcome],
    outputs: Mapping[str, Mapping[str, Any]],
    empty: Sequence[str],
    beyond: Sequence[str],
) -> list[str]:
    """Return what makes a passed check weak, in clauses.

    Args:
        outcomes: The outcomes of all cases.
        real: The outcomes of cases with observed values.
        outputs: The figures of each output.
        empty: Outputs that have no element in any case.
        beyond: The problems on values beyond those observed.
    """
    found = []
    if empty:
        found.append(f"a weak check: {', '.join(empty)} had no elements")
    constant = [output for output, figures in outputs.items() if figures["constant"] and output not in empty]
    if constant:
        found.append(f"a weak check: all elements of {', '.join(constant)} are equal")
    sensitive = _noisy(outcomes, is_small=True)
    if sensitive:
        found.append(
            f"{sensitive} are compared by the module's own sensitivity: the differences are no larger than when its "
            "inputs or weights change by rounding"
        )
    undecided = [outcome.case.label for outcome in real if outcome.result == "undecidable"]
    if undecided:
        found.append(
            f"undecidable at {', '.join(undecided)}: there the module returns other values when its inputs or weights "
            "change by rounding"
        )
    found += _left_out(outcomes)
    if beyond:
        found.append(f"wrong on values beyond those observed: {beyond[0]}")
    return found


def _left_out(outcomes: Sequence[CaseOutcome]) -> list[str]:
    """Return a clause for each output of which only a part could be compared, with the first such case."""
    first: dict[str, str] = {}
    for outcome in outcomes:
        for c in outcome.comparisons:
            if c.left_out is not None:
                first.setdefault(c.output, f"{c.left_out} at {outcome.case.label}")
    return [f"a part of {output} is noise and cannot be compared: {left_out}" for output, left_out in first.items()]


def _figures_of(rows: Sequence[tuple[Case, Comparison]]) -> dict[str, Any]:
    """Return the figures of one output over all cases: the worst ones, and the data of the plot."""
    comparisons = [c for _, c in rows]
    agreements = [c.top1_agreement for c in comparisons if c.top1_agreement is not None]
    constant = [c.constant for c in comparisons if c.constant is not None]
    worst_ratio: dict[str, float] = {}
    for case, c in rows:
        if c.worst_ratio is not None:
            worst_ratio[case.label] = max(worst_ratio.get(case.label, 0.0), float(f"{c.worst_ratio:.3g}"))
    return {
        **{figure: max(getattr(c, figure) for c in comparisons) for figure in _WORST},
        "top1_agreement": min(agreements, default=None),
        "constant": all(constant) if constant else None,
        "worst_ratio": worst_ratio,
        "ratios": [sum(column) for column in zip(*(c.ratios for c in comparisons if c.ratios), strict=True)],
    }
