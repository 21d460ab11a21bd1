"""Outcomes of cases add up to a status, a reason and figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_onnx.checks.base import CheckContext, CheckedFile, CheckedModule, CheckInputs, CheckResult
from lightning_onnx.checks.comparison import Comparison
from lightning_onnx.checks.outcomes import CaseOutcome, summarize
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.cases import Case
from lightning_onnx.runtimes.onnxruntime import ONNXRuntime

CONTEXT = CheckContext(
    file=CheckedFile(Path("model.onnx"), Signature((), ()), ONNXRuntime()),
    module=CheckedModule(list, lambda tensors, seed: list(tensors)),
    inputs=CheckInputs(()),
)
RIGHT = Comparison("y", kind="values", max_abs_diff=0.1, top1_agreement=1.0, worst_ratio=0.5, ratios=(1, 0))
WRONG = Comparison("y", "it differs", "values", max_abs_diff=2.0, max_rel_diff=0.5, worst_ratio=3.0, ratios=(0, 2))
NOISE = Comparison("y", "it differs", "values", excuse="noise", max_rel_diff=0.5)
LITTLE = Comparison("y", "it differs", "values", excuse="noise", max_rel_diff=1e-4)
RANDOM = Comparison("y", "it differs", "values", excuse="random", max_rel_diff=0.5)


def summed(*comparisons: Comparison, random: tuple[str, ...] = ()) -> CheckResult:
    cases = [Case(f"case {i}", (torch.zeros(1),), kind="traced") for i in range(len(comparisons))]
    outcomes = [CaseOutcome(case, (c,)) for case, c in zip(cases, comparisons, strict=True)]
    return summarize("parity", outcomes, random, CONTEXT)


@pytest.mark.parametrize(
    ("comparisons", "status", "reason"),
    [
        ([RIGHT, RIGHT], "passed", None),
        ([RIGHT, WRONG], "failed", "y at case 1: it differs"),
        ([NOISE, WRONG], "failed", "y at case 1: it differs"),
        ([RIGHT, NOISE], "skipped", "['y'] cannot be compared"),
        ([RIGHT, LITTLE], "passed", "['y'] are compared by the module's own sensitivity"),
    ],
)
def test_the_worst_case_decides(comparisons: list[Comparison], status: str, reason: str | None) -> None:
    result = summed(*comparisons)
    assert result.status == status
    assert result.reason is None if reason is None else str(result.reason).startswith(reason)
    assert result.scalars["parity_passed"] == (status == "passed")


def test_random_outputs_are_skipped() -> None:
    result = summed(RANDOM, random=("y",))
    assert result.status == "skipped"
    assert "two calls on the same inputs differ in ['y']" in str(result.reason)


def test_figures_are_those_of_the_worst_case() -> None:
    figures = summed(RIGHT, WRONG).figures
    output = figures["outputs"]["y"]
    assert (output["max_abs_diff"], output["top1_agreement"], output["constant"]) == (2.0, 1.0, None)
    assert output["worst_ratio"] == {"case 0": 0.5, "case 1": 3.0}
    assert output["ratios"] == [1, 2]
    assert figures["cases"] == ["case 0", "case 1"]
    assert figures["problems"] == ["y at case 1: it differs"]


def test_all_equal_is_weak_only_if_it_is_so_in_every_case() -> None:
    constant, varied = Comparison("y", constant=True), Comparison("y", constant=False)
    assert "weak check: all elements of ['y']" in str(summed(constant, constant).reason)
    assert summed(constant, varied).reason is None
