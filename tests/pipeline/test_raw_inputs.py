from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.transforms import v2

from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.raw_inputs import raw_observations


def shapes(preprocess: nn.Module, *sizes: int, **options: Any) -> list[tuple[int, ...]]:
    config = ExportConfig(preprocess=preprocess, **options)
    module = private_copy(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
    sample = config.around.sample(module, ((torch.zeros(*sizes),), {}))
    (found,) = raw_observations(module, [Observation.of(sample, "a test")], config)
    assert list(found.counted()) == [(found.shapes[0][0], 1)]  # what was only tried is no call
    return [shape[0] for shape, _ in found.shapes]


def test_both_sides_are_free_where_the_resize_allows_it() -> None:
    assert shapes(v2.Resize([4, 4]), 2, 1, 9, 12) == [(2, 1, 9, 12), (2, 1, 14, 17)]


def test_sides_that_the_preprocessing_does_not_take_stay() -> None:
    assert shapes(nn.Identity(), 2, 16) == [(2, 16)]
    assert shapes(nn.Identity(), 2, 1, 4, 4) == [(2, 1, 4, 4)]
    assert shapes(nn.Conv2d(1, 1, (6, 9)), 2, 1, 9, 12) == [(2, 1, 9, 12)]
    assert shapes(nn.AdaptiveAvgPool2d((4, None)), 2, 1, 9, 4) == [(2, 1, 9, 4), (2, 1, 14, 4)]


def test_dims_that_are_given_are_not_tried() -> None:
    assert shapes(v2.Resize([4, 4]), 2, 1, 9, 12, dynamic_axes={"input": {0: "batch"}}) == [(2, 1, 9, 12)]
