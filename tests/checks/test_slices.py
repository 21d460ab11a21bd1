"""A slice of an output that is noise leaves the other slices to decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from lightning_onnx.checks.comparison import Comparison, compare_arrays
from lightning_onnx.checks.slices import Part, decisive_part

TOLERANCE = (1e-4, 2e-5)
EXPECTED = np.stack([np.linspace(1, 2, 12), np.full(12, np.pi)], 1).astype(np.float32)
"""Magnitudes and phases; the sign of each phase is noise."""


def flipped(*rows: int) -> Any:
    changed = EXPECTED.copy()
    changed[list(rows), 1] *= -1
    return changed


RUNS = [flipped(*range(12)), EXPECTED, flipped(0, 1)]


def part(found: Any, runs: Sequence[Any] = RUNS) -> Part | None:
    return decisive_part(EXPECTED, found, runs, TOLERANCE)


def compared(found: Any) -> Comparison:
    chosen = part(found)
    assert chosen is not None
    return compare_arrays("y", EXPECTED[chosen.elements], found[chosen.elements])


def test_a_slice_that_no_run_changes_decides() -> None:
    right, wrong = flipped(3, 4), flipped(3, 4)
    wrong[:, 0] += 0.1
    assert compared(right).problem is None
    assert compared(wrong).problem is not None
    assert "1 of 2 slices along dim 1" in str(part(right))


def test_channels_of_images_are_slices() -> None:
    image = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    noisy, wrong = image.copy(), image.copy()
    noisy[:, 1] *= -1
    wrong[:, 1:] *= -1
    found = decisive_part(image, wrong, [noisy], TOLERANCE)
    assert found is not None
    assert found.elements[:, [0, 2]].all()
    assert not found.elements[:, 1].any()


def test_not_a_number_is_noise_too() -> None:
    nan = EXPECTED.copy()
    nan[:, 1] = np.nan
    assert part(nan, [nan]) is not None


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [EXPECTED],  # no noise
        [flipped(*range(12)), -EXPECTED],  # all slices are noise
        [flipped(*range(12)), EXPECTED[:3]],  # noise changes the shape
        [flipped(0, 1, 2)],  # too few changes to tell the slices apart
    ],
)
def test_nothing_decides(runs: list[Any]) -> None:
    assert part(flipped(3), runs) is None


def test_a_slice_of_equal_numbers_says_too_little() -> None:
    """Boxes of a detector that begin at the border of the image: another box may not."""
    boxes = EXPECTED.copy()
    boxes[:, 0] = 0
    noisy = boxes.copy()
    noisy[:, 1] *= -1
    assert decisive_part(boxes, noisy, [noisy], TOLERANCE) is None


def test_a_row_that_is_another_one_in_no_run_does_not_decide() -> None:
    """Where the file chose another box, all of its coordinates may differ, also those that no run changes."""
    runs = [flipped(*range(10))]
    found = EXPECTED.copy()
    found[11] = [7, -1]
    chosen = part(found, runs)
    assert chosen is not None
    assert compared_rows(chosen) == list(range(11))


def compared_rows(chosen: Part) -> list[int]:
    return [int(row) for row in np.flatnonzero(chosen.elements[:, 0])]


def test_one_number_and_a_row_have_no_slices() -> None:
    for array in (np.float32(1.0), np.arange(12, dtype=np.float32)):
        assert decisive_part(np.asarray(array), np.asarray(array), [-np.asarray(array)], TOLERANCE) is None


def test_no_further_run_is_made_once_no_slice_is_left() -> None:
    def runs() -> Iterator[Any]:
        yield -EXPECTED
        raise AssertionError("one run was enough")

    assert decisive_part(EXPECTED, flipped(1), runs(), TOLERANCE) is None
