r"""Are the outputs of the ONNX file those of the module?

Floats are compared by ``|actual - expected| <= atol + rtol * |expected|``, where ``atol`` is a share of the output's
scale (its largest magnitude): logits of 400 carry float32 noise of 4e-4, probabilities of 0.1 must not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from random import random as draw
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_onnx.checks import divergence
from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.comparison import (
    _FLOOR,
    _FLOOR_FLOAT32,
    DEFAULT_TOLERANCES,
    RATIO_EDGES,
    Array,
    Comparison,
    _counted,
    _same_non_finite,
    _top1,
)
from lightning_onnx.errors import ConfigurationError, first_line
from lightning_onnx.module.arrays import feeds, to_numpy
from lightning_onnx.module.cases import Case
from lightning_onnx.module.random_state import random_states_kept
from lightning_onnx.runtimes.base import Arrays, Session

_NUDGES = 4
"""Ways to round that are tried: of two scores that are nearly equal, one way in two changes the order."""


_WORST = ("max_abs_diff", "max_rel_diff", "outside", "needed_atol")


@dataclasses.dataclass(frozen=True)
class Parity:
    """Compares a runtime with the module on observed inputs and at sizes that were not traced.

    Args:
        rtol: Relative tolerance for floats; default: by dtype, see ``DEFAULT_TOLERANCES``.
        atol: Tolerance as a share of the output's largest magnitude; default: by dtype.

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
                raise ConfigurationError(
                    f"Parity({option}={value!r}) is invalid: a tolerance is a number of at least 0."
                )

    def __call__(self, context: CheckContext) -> CheckResult:
        """Run all cases."""
        if not context.cases:
            return CheckResult(
                self.name, "skipped", "there are no inputs to compare on", scalars={"parity_passed": 0.0}
            )
        session = context.runtime.load(context.model_path)
        first = dataclasses.replace(
            context.cases[0], expected=tuple(context.module.reference(context.cases[0].tensors))
        )
        random = random_outputs(context, first)
        rows = [(case, c) for case in (first, *context.cases[1:]) for c in self.judge(session, context, case)]
        return self._explained(_result(self.name, rows, random, context), rows, random, context)

    def _explained(
        self, result: CheckResult, rows: list[tuple[Case, Comparison]], random: list[str], context: CheckContext
    ) -> CheckResult:
        """Say where the file parts from the module, where that can be told."""
        if result.status != "failed":
            return result
        case, wrong = next((case, c) for case, c in rows if is_failure(c, random))
        parted = divergence.find_divergence(context, case, wrong.output, self.compare_output)
        if parted is None:
            return result
        figures = result.figures | {"first_difference": parted.figures()}
        return dataclasses.replace(result, reason=f"{result.reason}; {parted}", figures=figures)

    def judge(self, session: Session, context: CheckContext, case: Case) -> list[Comparison]:
        """Compare all outputs of one case, and tell what is noise: what rounding does to the module.

        Detectors with untrained weights choose boxes by scores that are equal but for noise: no second program, nor
        the module on another machine, can give the same ones.
        """
        comparisons = self.compare_case(session, context, case)
        if not any(c.problem for c in comparisons):
            return comparisons
        names = [spec.name for spec in context.signature.outputs]
        expected = context.module.reference(case.tensors) if case.expected is None else case.expected
        for seed in range(_NUDGES):
            other = dict(zip(names, (to_numpy(t) for t in context.module.nudged(case.tensors, seed)), strict=False))
            own = {c.output: c for c in Parity().compare(names, expected, other)}
            comparisons = [
                dataclasses.replace(c, noise=c.noise or _is_noise(c, own.get(c.output))) for c in comparisons
            ]
            if all(c.noise for c in comparisons if c.problem):
                break
        return comparisons

    def compare_case(self, session: Session, context: CheckContext, case: Case) -> list[Comparison]:
        """Compare all outputs of one case."""
        expected = context.module.reference(case.tensors) if case.expected is None else case.expected
        names = [spec.name for spec in context.signature.outputs]
        try:
            actual = session.run(feeds(context.signature.inputs, case.tensors))
        except Exception as error:  # whatever a runtime raises is a finding
            return [Comparison(names[0], f"{context.runtime.name} failed: {first_line(error)}")]
        return self.compare(names, expected, actual)

    def compare(self, names: Sequence[str], expected: Sequence[Tensor], actual: Arrays) -> list[Comparison]:
        """Compare the module's outputs with the runtime's."""
        if list(actual) != list(names) or len(expected) != len(names):
            return [
                Comparison(
                    names[0] if names else "output",
                    f"outputs are {list(actual)}, the module gives {len(expected)} for {list(names)}",
                )
            ]
        return [self.compare_output(n, to_numpy(e), actual[n]) for n, e in zip(names, expected, strict=True)]

    def compare_output(self, name: str, expected: Array, actual: Array) -> Comparison:
        """Compare one output.

        Args:
            name: Its name.
            expected: The module's array.
            actual: The runtime's array.
        """
        if actual.dtype != expected.dtype:
            return Comparison(name, f"dtype is {actual.dtype}, the module gives {expected.dtype}")
        if actual.shape != expected.shape:
            return Comparison(name, f"shape is {actual.shape}, the module gives {expected.shape}", "shape")
        if expected.size == 0:
            return Comparison(name, constant=True)
        constant = bool((expected == expected.flat[0]).all()) if expected.size > 1 else None
        if not np.issubdtype(expected.dtype, np.inexact):
            differ = float((actual != expected).mean())
            problem = f"{differ:.2%} of the elements differ" if differ else None
            return Comparison(name, problem, "values", outside=differ, top1_agreement=None, constant=constant)
        return self._compare_floats(name, expected, actual, constant)

    def _compare_floats(self, name: str, expected: Array, actual: Array, constant: bool | None) -> Comparison:
        rtol, atol = DEFAULT_TOLERANCES.get(str(expected.dtype), DEFAULT_TOLERANCES["bfloat16"])
        rtol = rtol if self.rtol is None else self.rtol
        atol = atol if self.atol is None else self.atol
        if not _same_non_finite(expected, actual):
            return Comparison(name, "NaN or infinity stand in different places", outside=1.0, constant=constant)
        finite = np.isfinite(expected)
        if not finite.any():
            return Comparison(name, "no element of the module's output is finite", outside=1.0, constant=True)
        wide = np.complex128 if np.iscomplexobj(expected) else np.float64
        want, got = expected[finite].astype(wide), actual[finite].astype(wide)
        difference, magnitude = np.abs(got - want), np.abs(want)
        scale = float(magnitude.max())
        floor = _FLOOR.get(str(expected.dtype), _FLOOR_FLOAT32)
        allowed = np.maximum(atol * scale + rtol * magnitude, floor)
        ratio = difference / allowed
        outside = float((difference > allowed).mean())
        worst = float(difference.max())
        over = np.maximum(difference - rtol * magnitude, 0)
        return Comparison(
            name,
            f"{outside:.2%} of the elements are outside the tolerance, by up to {worst:.2e}" if outside else None,
            "values",
            max_abs_diff=worst,
            max_rel_diff=worst / scale if scale else float(worst > floor),
            outside=outside,
            needed_atol=float(over.max()) / scale if scale else 0.0,
            top1_agreement=_top1(expected, actual),
            constant=constant,
            worst_ratio=min(float(ratio.max()), 1e300),  # JSON has no infinity
            ratios=_counted(ratio),
        )


def random_outputs(context: CheckContext, case: Case) -> list[str]:
    """Return the outputs that differ between two calls of the module on the same inputs: it draws random numbers.

    Args:
        context: The module and the names of its outputs.
        case: Inputs with the outputs of the first call.
    """
    if not context.module.is_stochastic:
        return []
    names = [spec.name for spec in context.signature.outputs]
    with random_states_kept(include_cuda=False):
        # the reference keeps the random state, so that two calls draw the same numbers
        torch.rand(1), np.random.random(), draw()
        again = context.module.reference(case.tensors)
    return [
        n
        for n, a, b in zip(names, case.expected or (), again, strict=False)
        if a.shape != b.shape or not torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
    ]


def is_failure(comparison: Comparison, random: Sequence[str]) -> bool:
    """Tell whether a problem is a failure; ``random`` are outputs of which the values cannot be compared."""
    excused = comparison.noise or (comparison.output in random and comparison.kind in ("values", "shape"))
    return bool(comparison.problem) and not excused


def _is_noise(found: Comparison, own: Comparison | None) -> bool:
    """Compare a difference with what a nudge of the inputs does to the same output of the module."""
    if found.problem is None or own is None:
        return False
    near = found.kind == "values" and found.max_abs_diff <= 10 * own.max_abs_diff
    if near and found.is_small:
        return True
    if own.problem is None or found.kind != own.kind:
        return False
    return found.kind == "shape" or (near and found.outside <= 10 * own.outside)


def _ratios(rows: list[tuple[str, Comparison]]) -> dict[str, Any]:
    """What a plot needs: the worst ratio of each case, and the elements of all of them counted."""
    is_failure = [c.ratios for _, c in rows if c.ratios]
    worst: dict[str, float] = {}
    for label, c in rows:
        if c.worst_ratio is not None:
            worst[label] = max(worst.get(label, 0.0), float(f"{c.worst_ratio:.3g}"))
    return {
        "worst_ratio": worst,
        "ratios": [sum(column) for column in zip(*is_failure, strict=True)],
    }


def _result(
    name: str,
    rows: list[tuple[Case, Comparison]],
    random: list[str],
    context: CheckContext,
) -> CheckResult:
    """Sum up: the worst of each output over all cases."""
    outputs: dict[str, dict[str, Any]] = {}
    problems = [f"{c.output} at {case.label}: {c.problem}" for case, c in rows if is_failure(c, random)]
    unstable = sorted({c.output for _, c in rows if c.noise and not c.is_small})
    sensitive = sorted({c.output for _, c in rows if c.noise and c.is_small})
    for _, c in rows:
        worst = outputs.setdefault(c.output, dict.fromkeys(_WORST, 0.0) | {"top1_agreement": None, "constant": None})
        for key in _WORST:
            worst[key] = max(worst[key], getattr(c, key))
        if c.top1_agreement is not None:
            worst["top1_agreement"] = min(
                1.0 if worst["top1_agreement"] is None else worst["top1_agreement"], c.top1_agreement
            )
        if c.constant is not None:
            worst["constant"] = c.constant and worst["constant"] is not False
    for output, worst in outputs.items():
        worst |= _ratios([(case.label, c) for case, c in rows if c.output == output])
    figures = {
        "runtime": context.runtime.name,
        "runtime_version": context.runtime.version(),
        "outputs": outputs,
        "ratio_edges": list(RATIO_EDGES),
        "cases": list(dict.fromkeys(case.label for case, _ in rows)),
        "problems": problems,
        "random_outputs": random,
        "unstable_outputs": unstable,
    }
    scalars = {
        "max_abs_diff": max(o["max_abs_diff"] for o in outputs.values()),
        "max_rel_diff": max(o["max_rel_diff"] for o in outputs.values()),
    }
    if problems:
        return CheckResult(name, "failed", problems[0], figures, {"parity_passed": 0.0, **scalars})
    if random:
        reason = (
            f"the module draws random numbers in eval mode: two calls on the same inputs differ in {random}, "
            "so these cannot be compared"
        )
        return CheckResult(name, "skipped", reason, figures, {"parity_passed": 0.0, **scalars})
    if unstable:
        reason = (
            f"{unstable} cannot be compared: the module gives other values when its inputs or weights change by "
            "rounding; its decisions rest on differences that are noise"
        )
        return CheckResult(name, "skipped", reason, figures, {"parity_passed": 0.0, **scalars})
    weak = [n for n, o in outputs.items() if o["constant"]]
    weaknesses = [f"a weak check: all elements of {weak} are equal"] if weak else []
    if sensitive:
        weaknesses.append(
            f"{sensitive} are compared by the module's own sensitivity: they differ no more than when its inputs or "
            "weights change by rounding"
        )
    return CheckResult(name, "passed", "; ".join(weaknesses) or None, figures, {"parity_passed": 1.0, **scalars})
