"""Weights that are NaN or infinite are named."""

from __future__ import annotations

import torch
from torch import nn

from lightning_onnx.module.weights.non_finite import non_finite_weights


def test_finite_weights_and_masks_are_not_named() -> None:
    module = nn.BatchNorm1d(3)
    module.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))
    assert non_finite_weights(module) is None


def test_each_kind_is_counted() -> None:
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight[0, :2] = float("nan")
        module.weight[1, 0] = float("inf")
    assert non_finite_weights(module) == (
        "the module's weights are not finite: 'weight' (2 of 6 NaN), 'weight' (1 of 6 infinite)"
    )


def test_only_the_first_are_named() -> None:
    module = nn.Sequential(*(nn.Linear(1, 1) for _ in range(3)))
    for parameter in module.parameters():
        nn.init.constant_(parameter, float("nan"))
    assert (non_finite_weights(module) or "").endswith(
        "'0.weight' (1 of 1 NaN), '0.bias' (1 of 1 NaN), '1.weight' (1 of 1 NaN) and 3 more"
    )


def test_a_sparse_buffer_is_passed_over() -> None:
    module = nn.Linear(3, 2)
    module.register_buffer("adjacency", torch.eye(3).to_sparse())
    module.register_buffer("variance", torch.tensor(float("nan")))
    assert non_finite_weights(module) == "the module's weights are not finite: 'variance' (1 of 1 NaN)"
