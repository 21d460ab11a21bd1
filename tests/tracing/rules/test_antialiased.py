"""Antialiased images have the sizes and the pixels that torch gives them."""

from __future__ import annotations

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_onnx.tracing.rules.table import RULES, translations
from tests.tracing.making import as_torch_writes

WAYS = tuple(
    {"mode": mode, **size}
    for mode in ("bilinear", "bicubic")
    for size in ({"scale_factor": 0.29}, {"scale_factor": (0.5, 1.3)}, {"size": (5, 9)})
)


class Resizes(nn.Module):
    """Resizes in several ways."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [functional.interpolate(x, antialias=True, **way) for way in WAYS]


@pytest.mark.slow
def test_factors_give_torch_s_sizes_and_pixels():
    auto = torch.export.Dim.AUTO
    program = torch.export.export(Resizes(), (torch.zeros(2, 3, 12, 14),), dynamic_shapes=({2: auto, 3: auto},))
    written = as_torch_writes(program, rules=RULES, custom_translation_table=translations())
    session = onnxruntime.InferenceSession(written.model_proto.SerializeToString())
    for size in (8, 13, 21, 100):  # 100 * 0.29 is less than 29 in float64, but not in float32
        x = torch.rand(2, 3, size, size + 3)
        for way, found, expected in zip(WAYS, session.run(None, {"x": x.numpy()}), Resizes()(x), strict=True):
            torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=0, msg=f"{way}, {size}")
