"""Unique values of types that onnxruntime's kernel lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import export
from tests import outside

pytestmark = pytest.mark.slow


class Labels(nn.Module):
    def forward(self, labels: Tensor) -> tuple[Tensor, ...]:
        return *torch.unique(labels, return_inverse=True, return_counts=True), torch.unique(labels > 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_unique_labels_of_another_number_of_rows(tmp_path: Path, dtype: torch.dtype) -> None:
    labels = torch.tensor([[3, 1, 3], [0, 200, 1]]).to(dtype)
    made = export(Labels(), labels, directory=tmp_path / "made")
    assert made.passed
    for some in (labels, labels[:1], torch.cat([labels, labels + 7]), torch.zeros(1, 3, dtype=dtype)):
        for got, expected in zip(outside.run(made.model_path, labels=some), Labels()(some), strict=True):
            assert got.dtype == expected.numpy().dtype
            np.testing.assert_array_equal(got, expected)
