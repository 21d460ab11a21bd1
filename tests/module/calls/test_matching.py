"""Which tensors of a batch are which arguments of the method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_onnx.module.calls.matching import match
from lightning_onnx.module.calls.sample import method_signature


@pytest.mark.parametrize(
    ("batch", "paths"),
    [
        ({"x": torch.zeros(2), "y": torch.ones(2)}, [("x",)]),
        ((torch.zeros(2), torch.ones(2)), [("x",)]),
        ([torch.zeros(2)], [("x",)]),
        (torch.zeros(2), [("x",)]),
        ({"image": torch.zeros(2), "label": torch.ones(2)}, [("x",)]),
    ],
)
def test_batch_is_matched_by_name_then_by_order(batch: Any, paths: Any) -> None:
    def forward(x: Any, scale: float = 1.0) -> Any:
        return x

    module = nn.Module()
    module.forward = forward  # type: ignore[assignment]
    found = match(method_signature(module, "forward"), [(batch, 2)], "the batch")[0].samples[0]
    assert list(found.paths) == paths
    assert found.tensors[0].sum() == 0


def test_steps_of_lightning_take_the_batch_as_it_is() -> None:
    def predict_step(rows: Any, i: int, dataloader_idx: int = 0) -> Any:
        return rows

    module = nn.Module()
    module.predict_step = predict_step  # type: ignore[assignment]
    signature = method_signature(module, "predict_step")
    (found,) = match(signature, [((torch.zeros(2), torch.ones(2)), 2)], "the batch", "predict_step")
    args, _ = found.samples[0].arguments(found.samples[0].tensors)
    assert len(args[0]) == 2
    assert args[1] == 0


@pytest.mark.parametrize(
    ("batch", "remark"),
    [
        ((torch.zeros(2), torch.ones(2)), "entries of the batch that forward does not take: batch_1"),
        ({"x": torch.zeros(2), "y": torch.ones(2)}, "entries of the batch that forward does not take: y"),
    ],
)
def test_entries_that_the_method_does_not_take_are_named(batch: object, remark: str) -> None:
    def forward(x: Any) -> Any:
        return x

    module = nn.Module()
    module.forward = forward  # type: ignore[assignment]
    observed = match(method_signature(module, "forward"), [(batch, 2)], "the batch")
    assert observed[0].remarks == (remark,)
    assert observed[-1].remarks == ()  # the whole batch as one argument
