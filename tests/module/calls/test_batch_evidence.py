"""Evidence that a dim is the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_onnx.module.calls.batch_evidence import BOTH, FOLLOWS_ORDER, KEEPS_ROWS, RUNS, evidence
from tests.module.calls.observing import Applies, observed, runner_of


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x * 2, BOTH),
        (lambda x: x @ x.T, BOTH),
        (lambda x: x - x.mean(0), FOLLOWS_ORDER),
        (lambda x: x.cumsum(0), KEEPS_ROWS),
        (lambda x: x.flip(0).cumsum(0), RUNS),
        (lambda x: x.mean(0), RUNS),
        (lambda x: x.reshape(4, 3), None),
    ],
)
def test_rows_on_their_own_and_in_any_order(function: Any, expected: int | None) -> None:
    module = Applies(function)
    observation = observed(module, (torch.randn(4, 3),))
    assert evidence(observation.samples[0].tensors, (0,), runner_of(module, observation)) == expected
