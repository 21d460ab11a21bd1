"""A file picks the same pixels as torch, at every size."""

from __future__ import annotations

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_onnx.tracing.rules.resizing import differs
from lightning_onnx.tracing.rules.table import RULES, translations
from tests.tracing.making import as_torch_writes

WAYS = (
    {"size": 3},
    {"size": 8},
    {"size": 12},
    {"scale_factor": 0.3},
    {"scale_factor": 1 / 3, "recompute_scale_factor": True},
    {"scale_factor": 1.3, "mode": "nearest-exact"},
)


class Resizes(nn.Module):
    """Resizes in several ways."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [functional.interpolate(x, **way) for way in WAYS]


@pytest.mark.slow
def test_every_size_gives_the_pixels_that_torch_picks():
    program = torch.export.export(Resizes(), (torch.zeros(2, 3, 12),), dynamic_shapes=({2: torch.export.Dim.AUTO},))
    written = as_torch_writes(program, rules=RULES, custom_translation_table=translations())
    session = onnxruntime.InferenceSession(written.model_proto.SerializeToString())
    for size in range(4, 70):
        x = torch.arange(size, dtype=torch.float32).expand(2, 3, size).contiguous()
        for way, found, expected in zip(WAYS, session.run(None, {"x": x.numpy()}), Resizes()(x), strict=True):
            assert torch.equal(torch.from_numpy(found), expected), (way, size)


@pytest.mark.parametrize(
    ("sizes", "factors", "expected"),
    [
        ((8, 24), None, False),
        ((24, 8), None, True),
        (None, (2.0, 3.0), False),
        (None, (0.5, 1.0), False),
        (None, (1.5, 1.0), True),
    ],
)
def test_resize_is_kept_if_its_arithmetic_is_exact(sizes, factors, expected):
    class Resize(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.aten.upsample_nearest2d.vec(x, sizes, factors)

    program = torch.export.export(Resize(), (torch.zeros(1, 1, 21, 8),))
    node = next(n for n in program.graph.nodes if "upsample" in str(n.target))
    assert differs(node) is expected
