"""What was judged is not judged again: with the same bytes, the same weights and the same tolerances."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_onnx import Parity
from lightning_onnx.checks.base import CheckContext, CheckedFile, CheckedModule, CheckInputs
from lightning_onnx.checks.comparison import Comparison
from lightning_onnx.checks.judged import Judged
from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.module.cases import Case

CASE = Case("traced", (torch.zeros(2, 3),), kind="traced")
RIGHT = (Comparison("y"),)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(CASE, tensors=(torch.zeros(3, 2),)),
        dataclasses.replace(CASE, tensors=(torch.zeros(2, 3, dtype=torch.int32),)),
        dataclasses.replace(CASE, tensors=(torch.ones(2, 3),)),
        dataclasses.replace(CASE, kind="values"),
        dataclasses.replace(CASE, beyond=True),
    ],
)
def test_another_case_is_unknown(other: Case) -> None:
    judged = Judged()
    judged.add(Parity(), CASE, RIGHT)
    assert judged.of(Parity(), dataclasses.replace(CASE, label="another")) == RIGHT
    assert judged.of(Parity(), other) is None
    assert judged.of(Parity(rtol=0.1), CASE) is None
    assert judged.without(other).of(Parity(), CASE) == (None if other.kind == "values" or other.beyond else RIGHT)


class Counting:
    """A runtime that returns zeros, and counts its runs."""

    name = "counting"

    def __init__(self) -> None:
        self.runs = 0

    def version(self) -> str:
        return "1"

    def load(self, model_path: Path) -> Any:
        return self

    def run(self, inputs: Any) -> Any:
        self.runs += 1
        return {"y": np.zeros((2, 3), np.float32)}


def context(runtime: Any) -> CheckContext:
    signature = Signature((TensorSpec("x", "float32", (2, 3)),), (TensorSpec("y", "float32", (2, 3)),))
    module = CheckedModule(list, lambda tensors, seed: list(tensors), is_stochastic=False)
    return CheckContext(
        file=CheckedFile(Path("model.onnx"), signature, runtime), module=module, inputs=CheckInputs((CASE,))
    )


def test_a_check_with_a_runtime_or_module_of_its_own_judges_anew() -> None:
    first, own, judged = Counting(), Counting(), Judged()
    known = context(first).remembering(judged)
    for _ in range(2):
        assert Parity()(known).status == "passed"
    assert first.runs == 1
    assert Parity()(dataclasses.replace(known, file=dataclasses.replace(known.file, runtime=own))).status == "passed"
    assert own.runs == 1
    ones = CheckedModule(lambda ts: [torch.ones(2, 3)], lambda ts, seed: [torch.ones(2, 3)], is_stochastic=False)
    assert Parity()(dataclasses.replace(known, module=ones)).status != "passed"


def test_what_is_known_of_equal_bytes_serves_a_copy_of_the_file() -> None:
    judged, copy = Judged(), Counting()
    Parity()(context(Counting()).remembering(judged))
    assert Parity()(context(copy).remembering(judged)).status == "passed"
    assert copy.runs == 0
    without = context(copy).remembering(judged.without(CASE))
    assert Parity()(without).status == "passed"
    assert copy.runs == 1
