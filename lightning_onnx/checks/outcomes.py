"""What parity found, case by case, and its sum: the status, the reason and the figures of the check."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.comparison import RATIO_EDGES, Comparison
from lightning_onnx.manifest.results import Status
from lightning_onnx.module.cases import Case

_WORST = ("max_abs_diff", "max_rel_diff", "outside", "needed_atol")
"""Figures of which the largest of all cases is told."""


@dataclasses.dataclass(frozen=True)
class CaseOutcome:
    """What was found on one case.

    Attributes:
        case: The inputs.
        comparisons: One for each output; a single one where the runtime failed or gave other outputs.
    """

    case: Case
    comparisons: tuple[Comparison, ...]

    @property
    def failures(self) -> tuple[Comparison, ...]:
        """The outputs that are wrong."""
        return tuple(c for c in self.comparisons if c.is_failure)


def summarize(
    name: str, outcomes: Sequence[CaseOutcome], random_outputs: Sequence[str], context: CheckContext
) -> CheckResult:
    """Return the result of the check: failed if any case is.

    Args:
        name: Name of the check.
        outcomes: At least one.
        random_outputs: Outputs that cannot be compared, because the module draws random numbers.
        context: The runtime that was used.
    """
    by_output: dict[str, list[tuple[Case, Comparison]]] = {}
    for outcome in outcomes:
        for comparison in outcome.comparisons:
            by_output.setdefault(comparison.output, []).append((outcome.case, comparison))
    outputs = {output: _figures_of(rows) for output, rows in by_output.items()}
    problems = [f"{c.output} at {o.case.label}: {c.problem}" for o in outcomes for c in o.failures]
    unstable = _noisy(outcomes, is_small=False)
    status, reason = _verdict(
        problems,
        random=random_outputs,
        unstable=unstable,
        sensitive=_noisy(outcomes, is_small=True),
        constant=[output for output, figures in outputs.items() if figures["constant"]],
    )
    figures = {
        "runtime": context.runtime.name,
        "runtime_version": context.runtime.version(),
        "outputs": outputs,
        "ratio_edges": list(RATIO_EDGES),
        "cases": list(dict.fromkeys(outcome.case.label for outcome in outcomes)),
        "problems": problems,
        "random_outputs": list(random_outputs),
        "unstable_outputs": unstable,
    }
    scalars = {
        "parity_passed": float(status == "passed"),
        "max_abs_diff": max(figures["max_abs_diff"] for figures in outputs.values()),
        "max_rel_diff": max(figures["max_rel_diff"] for figures in outputs.values()),
    }
    return CheckResult(name, status, reason, figures, scalars)


def _noisy(outcomes: Sequence[CaseOutcome], is_small: bool) -> list[str]:
    """Return the outputs with a problem that is noise, of small or of other differences."""
    comparisons = (c for outcome in outcomes for c in outcome.comparisons)
    return sorted({c.output for c in comparisons if c.excuse == "noise" and c.is_small == is_small})


def _verdict(
    problems: Sequence[str],
    *,
    random: Sequence[str],
    unstable: Sequence[str],
    sensitive: Sequence[str],
    constant: Sequence[str],
) -> tuple[Status, str | None]:
    """Return the status and its reason.

    Args:
        problems: What is wrong, in sentences.
        random: Outputs that are random.
        unstable: Outputs with large differences that are noise.
        sensitive: Outputs with small differences that are noise.
        constant: Outputs whose elements are all equal.
    """
    if problems:
        return "failed", problems[0]
    if random:
        return "skipped", (
            f"the module draws random numbers in eval mode: two calls on the same inputs differ in {list(random)}, "
            "so these cannot be compared"
        )
    if unstable:
        return "skipped", (
            f"{list(unstable)} cannot be compared: the module gives other values when its inputs or weights change by "
            "rounding; its decisions rest on differences that are noise"
        )
    weaknesses = []
    if constant:
        weaknesses.append(f"a weak check: all elements of {list(constant)} are equal")
    if sensitive:
        weaknesses.append(
            f"{list(sensitive)} are compared by the module's own sensitivity: they differ no more than when its inputs "
            "or weights change by rounding"
        )
    return "passed", "; ".join(weaknesses) or None


def _figures_of(rows: Sequence[tuple[Case, Comparison]]) -> dict[str, Any]:
    """Return the figures of one output over all cases: the worst ones, and what the plot needs."""
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
