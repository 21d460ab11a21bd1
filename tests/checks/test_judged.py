"""What was judged is not judged again: with the same bytes, the same weights and the same tolerances."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lightning_onnx import Parity
from lightning_onnx.checks.comparison import Comparison
from lightning_onnx.checks.judged import Judged
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
