"""Lengths that come back from packed sequences have the dtype that torch gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from tests import outside


class Packed(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.first = kind, nn.LSTM(3, 4, batch_first=True, bidirectional=True)
        self.second = nn.GRU(8, 4, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths.cpu(), batch_first=True, enforce_sorted=self.kind == "sorted"
        )
        hidden = self.first(packed)[0]
        if self.kind == "two layers":
            hidden = self.second(hidden)[0]
        y, n = nn.utils.rnn.pad_packed_sequence(hidden, batch_first=True, total_length=x.shape[1])
        if self.kind == "masked":
            return y.masked_fill(torch.arange(x.shape[1])[None, :, None] >= n[:, None, None], -1.0), n
        if self.kind == "converted":
            return y, n.int(), n * 2
        return y, n


@pytest.mark.parametrize("kind", ["unsorted", "sorted", "two layers", "masked", "converted"])
def test_lengths_keep_their_dtype(kind: str, tmp_path: Path) -> None:
    module, lengths = Packed(kind).eval(), torch.tensor([5, 3, 2])
    made = lightning_onnx.export(module, (torch.randn(3, 5, 3), lengths), directory=tmp_path / "made")
    for wanted in ([5, 4, 1, 1], [2]):
        x, n = torch.randn(len(wanted), 5, 3), torch.tensor(wanted)
        with torch.no_grad():
            expected = module(x, n)
        for got, value in zip(outside.run(made.model_path, x=x, lengths=n), expected, strict=True):
            assert got.dtype == value.numpy().dtype
            np.testing.assert_allclose(got, value, atol=1e-5)
