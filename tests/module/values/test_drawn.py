"""Drawn values resemble the observed ones, and indices stay valid."""

from __future__ import annotations

import torch

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


def test_a_column_of_whole_numbers_is_drawn_from_those_observed() -> None:
    """The first column of regions is the number of their image."""
    regions = torch.cat([torch.tensor([[0.0], [3.0], [0.0], [3.0]]), torch.rand(4, 4) * 50], 1)
    for seed in range(TRIES):
        (drawn,) = drawn_like([regions], seed)
        assert set(drawn[:, 0].tolist()) <= {0.0, 3.0}
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


def test_nothing_and_nothing_finite() -> None:
    empty, nan = torch.empty(0, 3), torch.full((2, 2), float("nan"))
    drawn = drawn_like([empty, nan])
    assert drawn[0].shape == (0, 3)
    assert drawn[1].tolist() == [[0, 0], [0, 0]]


def test_whole_columns() -> None:
    assert whole_columns(torch.tensor([[1.0, 0.5], [2.0, 1.0]])).tolist() == [True, False]
    assert whole_columns(torch.tensor([1.0, 0.5])).tolist() == [False]
