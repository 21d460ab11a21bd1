"""Outcomes of cases add up to a status, a reason and figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_onnx.checks.base import CheckContext, CheckedFile, CheckedModule, CheckInputs, CheckResult
from lightning_onnx.checks.comparison import Comparison, compare_arrays
from lightning_onnx.checks.outcomes import CaseOutcome, summarize
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.cases import Case, CaseKind
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


def summed(
    *comparisons: Comparison, random: tuple[str, ...] = (), kinds: tuple[CaseKind, ...] = (), beyond: bool = False
) -> CheckResult:
    """Sum up cases of these kinds, then traced ones."""
    kinds = (*kinds, *["traced"] * len(comparisons))  # type: ignore[assignment]
    cases = [
        Case(f"case {i}", (torch.zeros(1),), kind=kind, beyond=beyond and kind != "traced")
        for i, (kind, _) in enumerate(zip(kinds, comparisons, strict=False))
    ]
    outcomes = [CaseOutcome(case, (c,)) for case, c in zip(cases, comparisons, strict=True)]
    return summarize("parity", outcomes, random, CONTEXT)


@pytest.mark.parametrize(
    ("comparisons", "status", "reason"),
    [
        ([RIGHT, RIGHT], "passed", None),
        ([RIGHT, WRONG], "failed", "y at case 1: it differs"),
        ([NOISE, WRONG], "failed", "y at case 1: it differs"),
        ([RIGHT, NOISE], "passed", "undecidable at case 1"),
        ([NOISE, NOISE], "skipped", "['y'] cannot be compared"),
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
    assert "weak check: all elements of y are equal" in str(summed(constant, constant).reason)
    assert summed(constant, varied).reason is None


def test_a_check_that_saw_no_element_of_any_output_has_not_passed() -> None:
    empty = compare_arrays("y", np.zeros((0, 3)), np.zeros((0, 3)))
    result = summed(empty, empty)
    assert result.status == "skipped"
    assert str(result.reason).startswith("no output has an element in any case")
    assert result.scalars["parity_passed"] == 0
    assert summed(empty, dataclasses.replace(RIGHT, constant=False)).reason is None
    other = dataclasses.replace(empty, output="z")
    outcomes = [CaseOutcome(Case("a", (torch.zeros(1),), kind="traced"), (RIGHT, other))]
    beside = summarize("parity", outcomes, (), CONTEXT)
    assert (beside.status, beside.reason) == ("passed", "a weak check: z had no elements")


@pytest.mark.parametrize(
    ("kind", "beyond", "status"),
    [
        ("values", False, "failed"),
        ("values", True, "passed"),
        ("decision", True, "failed"),
        ("resized", True, "failed"),
    ],
)
def test_wrong_beyond_observed_values_is_a_warning_unless_a_decision_or_a_size_is_the_cause(
    kind: CaseKind, beyond: bool, status: str
) -> None:
    result = summed(WRONG, RIGHT, kinds=(kind,), beyond=beyond)
    assert result.status == status
    told = ["y at case 0: it differs"]
    figures = result.figures
    if status == "failed":
        assert (figures["problems"], figures["warnings"], result.notes) == (told, [], ())
        assert figures["outcomes"] == {"case 0": "failed", "case 1": "passed"}
    else:
        assert (figures["problems"], figures["warnings"]) == ([], told)
        assert figures["outcomes"] == {"case 0": "warning", "case 1": "passed"}
        assert result.reason == "wrong on values beyond those observed: y at case 0: it differs"
        assert result.notes == ("the file is wrong on values beyond those observed: y at case 0: it differs",)
        assert figures["outputs"]["y"]["max_abs_diff"] == 0.1  # what passed


@pytest.mark.parametrize("excuse", ["noise", "undefined", "refused"])
def test_an_undecidable_case_of_other_values_changes_neither_status_nor_figures(excuse: Any) -> None:
    undecidable = Comparison("y", "it differs", "values", excuse=excuse, max_abs_diff=9.0, max_rel_diff=0.5)
    result = summed(undecidable, RIGHT, kinds=("values",))
    assert (result.status, result.reason) == ("passed", None)
    assert result.figures["outcomes"] == {"case 0": "undecidable", "case 1": "passed"}
    assert result.figures["outputs"]["y"]["max_abs_diff"] == 0.1


def test_other_values_are_not_sufficient_proof() -> None:
    """Detectors that choose by noise on real images, and find nothing on black ones."""
    result = summed(RIGHT, NOISE, kinds=("values",))
    assert result.status == "skipped"
