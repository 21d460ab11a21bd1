"""Drawn values resemble the observed ones, and indices stay valid."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_onnx.module.values.drawn import TRIES, drawn_like, whole_columns


def test_floats_have_the_observed_range_and_repeat_nothing() -> None:
    x = torch.randn(8, 4) + 3
    (drawn,) = drawn_like([x])
    assert (drawn.shape, drawn.dtype) == (x.shape, x.dtype)
    assert x.min() < drawn.min() < drawn.max() < x.max()
    assert not torch.isin(drawn, x).any()


def test_each_seed_draws_others_and_the_same_again() -> None:
    x = torch.randn(8, 4)
    assert torch.equal(drawn_like([x], 1)[0], drawn_like([x], 1)[0])
    assert not torch.equal(drawn_like([x], 1)[0], drawn_like([x], 2)[0])


def test_a_column_of_whole_numbers_is_drawn_up_to_the_largest() -> None:
    """The first column of regions is the number of their image."""
    regions = torch.cat([torch.tensor([[0.0], [3.0], [0.0], [3.0]]), torch.rand(4, 4) * 50], 1)
    for seed in range(TRIES):
        (drawn,) = drawn_like([regions], seed)
        last = seed == TRIES - 1  # for modules that accept only what occurs in training
        assert set(drawn[:, 0].tolist()) <= ({0.0, 3.0} if last else {1.0, 2.0})
        assert not torch.isin(drawn[:, 1:], regions[:, 1:]).any()


def test_large_whole_numbers_are_not_repeated() -> None:
    accounts = torch.tensor([[48213377.0], [93111840.0], [12077112.0]])
    (drawn,) = drawn_like([accounts])
    assert not torch.isin(drawn, accounts).any()
    assert accounts.min() <= drawn.min() <= drawn.max() <= accounts.max()


def test_integers_stay_in_their_range_and_in_their_order() -> None:
    ids, groups = torch.tensor([[4, 9], [5, 7]]), torch.tensor([0, 0, 1, 1, 2])
    drawn = drawn_like([ids, groups])
    assert 4 <= drawn[0].min() <= drawn[0].max() <= 9
    assert (drawn[1].diff() >= 0).all()


def test_masks_are_open_with_the_last_seed() -> None:
    mask = torch.tensor([True, False, False, False])
    assert drawn_like([mask], TRIES - 1)[0].all()


def test_a_single_number_stays_one() -> None:
    scale, fraction, flag = drawn_like([torch.tensor(2.0), torch.tensor(0.5), torch.tensor(True)])
    assert (scale.shape, fraction.shape, flag.shape) == ((), (), ())


FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128)
SHAPES = ((), (1,), (1, 1), (1, 6), (1, 784), (1, 3, 8, 8), (2, 5), (8, 4), (16,))


KINDS: dict[str, Callable[[tuple[int, ...]], Tensor]] = {
    "normal": torch.randn,
    "unit": torch.rand,
    "one value": lambda shape: torch.full(shape, 0.37),
    "whole": lambda shape: torch.full(shape, 37.0),
    "large": lambda shape: torch.randint(2_000, 60_000, shape),
    "mixed": lambda shape: torch.randn(shape) * 2 ** torch.randint(-8, 8, shape),
    "tiny": lambda shape: torch.rand(shape) * 1e-4 + 1e-4,
    "pixels": lambda shape: torch.randint(0, 256, (40,)).repeat(20)[: math.prod(shape)].reshape(shape),
    "the largest": lambda shape: torch.full(shape, float("inf"), dtype=torch.float64),
}


WHOLE = ("whole", "large", "pixels", "the largest")
"""Kinds whose whole numbers are not replaced; among the others there are so many in half precision that they repeat."""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_no_float_is_an_observed_one(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    real = torch.view_as_real(torch.zeros(1, dtype=dtype)).dtype if dtype.is_complex else dtype
    for kind, make in KINDS.items():
        values = make(shape).to(real).clamp(max=torch.finfo(real).max)
        is_code = (values == values.round()) & (values.abs() <= (1 if kind in WHOLE else 1_000))
        values = torch.where(is_code, 0.7, values)
        x = torch.complex(values, values.flip(-1) if shape else values) if dtype.is_complex else values
        for seed in range(TRIES - 1):
            (drawn,) = drawn_like([x], seed)
            assert (drawn.shape, drawn.dtype) == (x.shape, x.dtype)
            got, observed = (torch.view_as_real(t.clone()) if dtype.is_complex else t for t in (drawn, x))
            assert torch.isfinite(got).all(), kind
            assert not torch.isin(got.double(), observed.double()).any(), kind


def test_flags_of_one_row_come_in_another_order() -> None:
    flags = (torch.rand(1, 64) < 0.4).float()
    (drawn,) = drawn_like([flags])
    assert drawn.sum() == flags.sum()
    assert not torch.equal(drawn, flags)
    assert torch.equal(drawn_like([torch.ones(1, 5)])[0], torch.ones(1, 5))


def test_vocabularies_of_which_nearly_all_was_observed_are_shuffled() -> None:
    digits = torch.arange(10.0).repeat(3)[:, None]
    (drawn,) = drawn_like([digits])
    assert set(drawn.unique().tolist()) <= set(range(10))
    assert not torch.equal(drawn, digits)


def test_a_large_integer_is_not_repeated() -> None:
    (drawn,) = drawn_like([torch.tensor([48213377])])
    assert 0 <= drawn.item() < 48213377


def test_nothing_and_nothing_finite() -> None:
    empty, nan = torch.empty(0, 3), torch.full((2, 2), float("nan"))
    drawn = drawn_like([empty, nan])
    assert drawn[0].shape == (0, 3)
    assert drawn[1].tolist() == [[0, 0], [0, 0]]


def test_whole_columns() -> None:
    assert whole_columns(torch.tensor([[1.0, 0.5], [2.0, 1.0]])).tolist() == [True, False]
    assert whole_columns(torch.tensor([1.0, 0.5])).tolist() == [False]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_a_sample_that_only_shows_a_shape_gives_other_values(dtype: torch.dtype) -> None:
    blank = torch.zeros(2, 4, 4, 3, dtype=dtype)
    for may_repeat in (False, True):
        (drawn,) = drawn_like([blank], may_repeat=may_repeat)
        assert (drawn.shape, drawn.dtype) == (blank.shape, dtype)
        assert len(drawn.unique()) > 20
    assert not drawn_like([blank], TRIES - 1)[0].any()  # for modules that accept only what occurs in training


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_integers_that_are_all_zero_give_ones_too_with_even_seeds(dtype: torch.dtype) -> None:
    ids = torch.zeros(2, 8, dtype=dtype)
    assert [drawn_like([ids], seed)[0].unique().tolist() for seed in range(TRIES)] == [[0, 1], [0], [0, 1], [0]]
    assert not drawn_like([torch.zeros(8, dtype=dtype)])[0].any()  # such as the graph of each node
