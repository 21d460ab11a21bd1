"""Packed sequences: their lengths have the dtype that torch gives them, and layers may give only a final state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from tests import outside
from tests.tracing.patches.cases import FinalState


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


class EncodesAndDecodes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: Tensor, known: Tensor, lengths: Tensor) -> Tensor:
        lengths = lengths - 1
        assert lengths.min() >= 0
        if lengths.max() == 0:
            state = x.new_zeros(1, len(x), 4), x.new_zeros(1, len(x), 4)
        else:
            some = lengths.where(lengths > 0, torch.ones_like(lengths))
            packed = nn.utils.rnn.pack_padded_sequence(x[:, 1:], some.cpu(), batch_first=True, enforce_sorted=False)
            state = self.layer(packed)[1]
        return self.layer(known, state)[0]


@pytest.mark.slow
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


LAYERS = {
    "LSTM": nn.LSTM(3, 4, batch_first=True),
    "two layers": nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True),
    "RNN": nn.RNN(3, 4, batch_first=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("is_sorted", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_only_the_final_state_is_used(kind: str, is_sorted: bool, tmp_path: Path) -> None:
    module, lengths = FinalState(LAYERS[kind], is_sorted=is_sorted).eval(), torch.tensor([5, 3, 2])
    made = lightning_onnx.export(module, (torch.randn(3, 5, 3), lengths), directory=tmp_path / "made")
    for wanted in ([5, 4, 1, 1], [2]):
        x, n = torch.randn(len(wanted), 5, 3), torch.tensor(wanted)
        with torch.no_grad():
            expected = torch.utils._pytree.tree_leaves(module(x, n))
        for got, value in zip(outside.run(made.model_path, x=x, lengths=n), expected, strict=True):
            np.testing.assert_allclose(got, value, atol=1e-5)


@pytest.mark.slow
def test_the_final_state_starts_other_layers(tmp_path: Path) -> None:
    """Encodes what is known, and decodes from there; sequences of length 0 are encoded as ones of length 1."""
    module = EncodesAndDecodes().eval()
    example = torch.randn(3, 6, 3), torch.randn(3, 2, 3), torch.full((3,), 6)
    made = lightning_onnx.export(module, example, directory=tmp_path / "made")
    for wanted in ([6, 4, 1, 6], [6]):
        x, known, n = torch.randn(len(wanted), 6, 3), torch.randn(len(wanted), 2, 3), torch.tensor(wanted)
        with torch.no_grad():
            expected = module(x, known, n)
        np.testing.assert_allclose(outside.run(made.model_path, x=x, known=known, lengths=n)[0], expected, atol=1e-5)


class PadsToTheLongest(nn.Module):
    """As quickstarts write it: the result is as long as the longest sequence, not as long as the input."""

    def __init__(self, *, batch_first: bool, padding: float) -> None:
        super().__init__()
        self.batch_first, self.layer = batch_first, nn.GRU(3, 4, batch_first=batch_first)
        self.padding = padding

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=self.batch_first, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], self.batch_first, self.padding)


@pytest.mark.slow
@pytest.mark.parametrize(("batch_first", "padding"), [(True, 0.0), (True, 2.0), (False, -1.5)])
def test_sequences_are_padded_to_the_longest(batch_first: bool, padding: float, tmp_path: Path) -> None:
    module = PadsToTheLongest(batch_first=batch_first, padding=padding).eval()
    lengths = torch.tensor([5, 3, 2])
    example = torch.randn(3, 5, 3) if batch_first else torch.randn(5, 3, 3)
    axes = {"x": {int(not batch_first): "batch"}, "lengths": {0: "batch"}}
    made = lightning_onnx.export(module, (example, lengths), directory=tmp_path / "made", dynamic_axes=axes)
    assert made.passed
    assert isinstance(made.signature.outputs[0].shape[int(batch_first)], str)
    for wanted in ([5, 4, 1, 1], [2], [3, 2]):
        x = torch.randn(len(wanted), 5, 3) if batch_first else torch.randn(5, len(wanted), 3)
        n = torch.tensor(wanted)
        with torch.no_grad():
            expected = module(x, n)
        for got, value in zip(outside.run(made.model_path, x=x, lengths=n), expected, strict=True):
            np.testing.assert_allclose(got, value, atol=1e-5)
