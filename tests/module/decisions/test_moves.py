"""Other inputs at the traced sizes."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.decisions.moves import moved, moves
from tests.tracing.making import made


def asked(*tensors: Tensor) -> Request:
    class Module(torch.nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            return inputs[0]

    return made(Module(), *tensors)[1]


def test_all_rows_of_the_observed_calls_are_tried() -> None:
    request = asked(torch.arange(12.0).reshape(6, 2) / 7)
    request = dataclasses.replace(request, tensors=(request.tensors[0][:2],))
    found = [move.tensors[0] for move in moves(request) if not move.beyond]
    for start in (2, 4):
        assert any(torch.equal(t, request.sample.tensors[0][start : start + 2]) for t in found)


def test_moves_have_traced_sizes_and_mark_values_outside_the_range() -> None:
    request = asked(torch.rand(2, 3))
    for move in moves(request):
        assert move.tensors[0].shape == (2, 3)
        inside = bool(
            (move.tensors[0] >= request.tensors[0].min()).all() and (move.tensors[0] <= request.tensors[0].max()).all()
        )
        assert move.beyond != inside
    assert moved(request, [torch.full((2, 3), 9.0)]).beyond


def test_indices_are_never_scaled_and_bytes_never_changed() -> None:
    tokens, image, numbers = (
        torch.tensor([[3, 7], [5, 7]]),
        torch.tensor([[9], [4]], dtype=torch.uint8),
        torch.tensor([[0.0, 2.0], [1.0, 2.0]]),
    )
    for move in moves(asked(tokens, image, numbers)):
        assert 0 <= int(move.tensors[0].min()) <= int(move.tensors[0].max()) <= 8
        assert set(move.tensors[1].flatten().tolist()) == {9, 4}
        assert 0 <= float(move.tensors[2].min()) <= float(move.tensors[2].max()) <= 3


def test_the_number_of_the_image_stays_in_regions_of_images() -> None:
    regions = torch.tensor([[0.0, 1.5, 2.5, 7.25, 8.5], [1.0, 0.5, 1.5, 6.5, 9.25]])
    for move in moves(asked(regions)):
        assert move.tensors[0][:, 0].tolist() == [0.0, 1.0] or "rows" in move.how


def test_flags_are_all_true_all_false_and_inverted() -> None:
    mask = torch.tensor([[True, False]])
    found = [move.tensors[0].tolist() for move in moves(asked(mask))]
    assert [[True, True]] in found
    assert [[False, False]] in found
    assert [[False, True]] in found


def test_the_same_inputs_are_drawn_each_time() -> None:
    request = asked(torch.rand(2, 3))
    for first, second in zip(moves(request), moves(request), strict=True):
        assert torch.equal(first.tensors[0], second.tensors[0]) or "NaN" in first.how
