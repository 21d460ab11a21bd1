"""Experts of transformers, which multiply the rows of each expert by a matrix of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import export
from tests import outside

pytestmark = pytest.mark.slow

moe = pytest.importorskip("transformers.integrations.moe")


class Experts(nn.Module):
    """Three experts, each with a matrix; the last group of rows belongs to none."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4, 5))

    def forward(self, x: Tensor, expert: Tensor) -> Tensor:
        order = expert.argsort(stable=True)
        ends = torch.stack([(expert <= number).sum() for number in range(3)])
        found: Tensor = torch.ops.transformers.grouped_mm_fallback(x[order], self.weight, ends.to(torch.int32))
        return found


def test_each_row_is_multiplied_by_the_matrix_of_its_group(tmp_path: Path) -> None:
    module = Experts().eval()
    made = export(module, (torch.randn(6, 4), torch.tensor([0, 2, 0, 1, 3, 2])), directory=tmp_path / "made")
    assert made.passed
    for experts in ([1, 1, 1], [2, 3, 0, 0, 3, 0, 0, 0], [3, 3], [0]):
        x, expert = torch.randn(len(experts), 4), torch.tensor(experts)
        rows = zip(x[expert.argsort(stable=True)], sorted(experts), strict=True)
        expected = [row @ module.weight[e] if e < 3 else torch.zeros(5) for row, e in rows]
        found = outside.run(made.model_path, x=x, expert=expert)[0]
        np.testing.assert_allclose(found, torch.stack(expected).detach(), rtol=1e-5, atol=1e-6)
