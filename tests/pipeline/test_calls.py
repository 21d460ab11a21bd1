from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import SampleError
from lightning_onnx.module.fused import Around
from lightning_onnx.pipeline.calls import calls_of
from lightning_onnx.pipeline.config import ExportConfig

PREPARED = torch.rand(9, 3, 4, 4)
RAW = torch.zeros(2, 20, 30, dtype=torch.uint8)


class Net(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch[0] / 255, batch[1]


def calls(data: Any = PREPARED, **options: Any) -> Any:
    loader = None if data is None else DataLoader(TensorDataset(data, torch.zeros(9)), batch_size=4)
    return calls_of(Net(), ExportConfig(**options), loader, None if data is None else "a test")[0]


def shapes(observation: Any) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in observation.samples[0].tensors]


def test_a_loader_shows_the_inputs_of_the_method() -> None:
    assert shapes(calls()) == [(4, 3, 4, 4)]
    assert len(calls().shapes) == 2


def test_a_sample_comes_first() -> None:
    given = calls(sample=torch.rand(2, 3, 4, 4))
    assert (given.source, shapes(given)) == ("the given sample", [(2, 3, 4, 4)])
    assert (len(given.shapes), given.origin) == (3, "data")  # with the sizes of the batches


def test_raw_inputs_are_those_of_the_sample_and_never_prepared_batches() -> None:
    given = calls(preprocess=nn.Identity(), sample=RAW)
    assert (shapes(given), len(given.shapes)) == ([(2, 20, 30)], 1)
    with pytest.raises(SampleError, match="no batch shows the raw inputs"):
        calls(preprocess=nn.Identity())


def test_a_hook_gets_whole_batches() -> None:
    options = {"preprocess": "on_after_batch_transfer"}
    found = calls(PREPARED, **options)
    assert shapes(found) == [(4, 3, 4, 4), (4,)]
    args, kwargs = found.samples[0].arguments(found.samples[0].tensors)
    prepared = Net().on_after_batch_transfer(*args, **kwargs)
    assert Around("forward", **options).arguments(Net(), prepared)[0][0].shape == (4, 3, 4, 4)  # type: ignore[arg-type]
    with pytest.raises(SampleError, match="nothing to trace with"):
        calls(None, **options)
