"""Non-maximum suppression of boxes in any order of corners."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import export
from tests import outside

pytestmark = pytest.mark.slow

ops = pytest.importorskip("torchvision.ops")


class Kept(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        kept: Tensor = ops.nms(boxes, scores, 0.3)
        return kept


def test_a_box_with_exchanged_corners_overlaps_no_other(tmp_path: Path) -> None:
    corners = torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    boxes, scores = torch.cat([corners, corners + 1], 1), torch.linspace(1, 0, 6)
    made = export(
        Kept(), (boxes, scores), directory=tmp_path / "made", dynamic_axes={"boxes": {0: "n"}, "scores": {0: "n"}}
    )
    assert made.passed
    turned = torch.cat([boxes, boxes[:, [2, 3, 0, 1]], boxes[:, [0, 3, 2, 1]], boxes[:, [0, 1, 0, 3]]])
    for some in (boxes, turned, turned.flip(0), boxes[:1]):
        order = torch.linspace(1, 0, len(some))
        np.testing.assert_array_equal(
            outside.run(made.model_path, boxes=some, scores=order)[0], ops.nms(some, order, 0.3)
        )
