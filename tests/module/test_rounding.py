"""Ties, last digits and signs of zeros change, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_onnx.module.rounding import Rounded, TiesReversed, ZeroSigns


@pytest.mark.parametrize("dim", [0, -1])
@pytest.mark.parametrize("named", [True, False])
def test_sort_and_topk_take_the_last_of_equal_values(dim: int, named: bool) -> None:
    x = torch.tensor([1.0, 0.0, 1.0])
    with TiesReversed():  # type: ignore[no-untyped-call]
        values, indices = torch.topk(x, 1, dim=dim) if named else torch.topk(x, 1, dim)
        ordered = torch.sort(x, dim=dim)
    assert (values.tolist(), indices.tolist()) == ([1.0], [2])
    assert (ordered.values.tolist(), ordered.indices.tolist()) == ([0.0, 1.0, 1.0], [1, 2, 0])


def test_a_stable_sort_has_no_ties() -> None:
    with TiesReversed():  # type: ignore[no-untyped-call]
        assert torch.sort(torch.tensor([1.0, 1.0]), stable=True).indices.tolist() == [0, 1]


def test_a_single_number() -> None:
    with TiesReversed():  # type: ignore[no-untyped-call]
        assert torch.sort(torch.tensor(3.0)).values == 3


def rounded() -> Rounded:
    return Rounded(torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("compute", "changes"),
    [
        (lambda x: x / 3, True),
        (lambda x: x.exp(), True),
        (lambda x: x.mean(0), True),
        (lambda x: x @ x.T, True),
        (lambda x: x + 0.5, False),
        (lambda x: x.relu(), False),
        (lambda x: x[1:].clone(), False),
        (lambda x: (x * 0).exp(), False),
        (lambda x: (x * 0).sum(0), False),
        (lambda x: x.view(-1), False),
        (lambda x: x.long().float(), False),
        (lambda x: x.long() // 2, False),
    ],
)
def test_only_rounded_results_change_and_only_slightly(compute: Any, changes: bool) -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [-4.0, 5.0, 7.0]])
    expected = compute(x)
    with rounded():
        found = compute(x)
    assert torch.equal(expected, found) != changes
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected)


def test_a_transform_is_as_uncertain_as_its_largest_frequency_but_for_parts_that_are_zero() -> None:
    x = torch.hann_window(16, periodic=False)  # symmetric, so that the imaginary parts after a shift are rests
    with rounded():
        found = torch.fft.rfft(x.roll(-8))
    expected = torch.fft.rfft(x.roll(-8))
    assert not torch.equal(found.imag[1:8], expected.imag[1:8])
    assert found.imag[0] == found.imag[8] == 0
    torch.testing.assert_close(found, expected)


def test_complex_products_are_rounded() -> None:
    z = torch.randn(9, dtype=torch.cfloat, generator=torch.Generator().manual_seed(0))
    with rounded():
        found = z * z / 3
    assert not torch.equal(found, z * z / 3)
    torch.testing.assert_close(found, z * z / 3)


@pytest.mark.parametrize(
    "total", [lambda x: x.sum(), lambda x: x.mean(0), lambda x: x @ torch.ones(4), lambda x: x[None] @ torch.ones(4, 1)]
)
def test_the_error_of_cancelled_sums_is_relative_to_the_terms(total: Any) -> None:
    x = torch.tensor([3e4, 1.0, -3e4, -1.0])
    with rounded():
        left = total(x).abs().max()
    assert 1e-5 < left < 6e4 * 4 * torch.finfo(torch.float32).eps


def test_equal_rows_come_apart_by_rounding() -> None:
    """Values whose mean has other last digits in another program."""
    rows = torch.full((3, 4), 0.1)
    with rounded():
        assert (rows - rows.mean(0)).abs().max() > 0


def test_writing_in_place_and_random_numbers_go_on() -> None:
    x = torch.full((3,), 0.1)
    with rounded():
        x.mul_(3)
        torch.rand_like(x)
    assert torch.equal(x, torch.full((3,), 0.1) * 3)


def test_zeros_get_the_signs_that_are_chosen() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0])
    with ZeroSigns(lambda shape: -torch.zeros(list(shape))) as signs:
        found = x.relu()
    assert found.tolist() == [0.0, 0.0, 2.0]
    assert torch.signbit(found).tolist() == [True, True, False]
    assert torch.signbit(signs.signed(x)).tolist() == [True, True, False]
    assert signs.signed(torch.tensor([0])).tolist() == [0]


def test_the_nearest_results_of_equal_rows_are_equal() -> None:
    """A kernel may add the rows of a batch in different orders."""
    x, weight = torch.randn(1, 64).expand(3, 64).contiguous(), torch.randn(64, 64)
    with Rounded(None):
        found = x @ weight
    assert torch.equal(found, found[:1].expand(3, 64))
    torch.testing.assert_close(found, x @ weight)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_averages_of_pixels_change_by_about_one(mode: str, antialias: bool) -> None:
    x = torch.randint(0, 256, (1, 3, 40, 30), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = torch.nn.functional.interpolate(x, (20, 25), mode=mode, antialias=antialias).int()
    with rounded():
        changed = torch.nn.functional.interpolate(x, (20, 25), mode=mode, antialias=antialias).int()
    off = (changed - expected).abs().float()
    assert 0 < off.mean() < 1  # single pixels are off by more: torch clips between the two dims
    with rounded():
        assert torch.equal(x + x.flip(0), x * 2)
