"""One output may have several scales; rounding noise has no scale of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lightning_onnx.checks.comparison import compare_arrays
from lightning_onnx.checks.scales import is_sliced, scales_of, with_noise

TIME = 1.7e9


def beside_times(*others: float) -> Any:
    """Rows of a time and other numbers."""
    return np.array([[TIME + i, *others] for i in range(4)], np.float32)


def test_probabilities_next_to_a_time_have_their_own_scale() -> None:
    expected = beside_times(0.25, 0.5)
    wrong = expected.copy()
    wrong[0, 1] += 0.4
    found = compare_arrays("y", expected, wrong)
    assert found.problem is not None
    assert found.sliced
    assert found.max_rel_diff == pytest.approx(1.6)
    later = expected.copy()
    later[:, 0] += 256  # rounding of the time
    assert compare_arrays("y", expected, later).problem is None


def test_slices_up_to_a_thousand_times_apart_share_a_scale() -> None:
    assert not is_sliced(scales_of(np.array([[900.0, 1.0]])))
    assert scales_of(np.array([[900.0, 1.0]])) == 900
    assert scales_of(np.array([[1100.0, 1.0], [3.0, 0.5]])).tolist() == [[1100, 1]]


def test_slices_of_all_magnitudes_share_a_scale_unless_they_are_far_apart() -> None:
    logits = np.geomspace(1e-2, 50, 1000)
    assert scales_of(np.stack([logits, -logits])) == 50
    assert is_sliced(scales_of(np.stack([logits / 100, logits**2])))
    assert is_sliced(scales_of(np.stack([np.geomspace(1e-2, 1e3, 6)] * 2)))
    beside = np.concatenate([logits[logits < 1], logits[logits > 20]])
    assert is_sliced(scales_of(np.stack([beside, beside])))


def test_channels_of_images() -> None:
    image = np.ones((2, 3, 4, 5), np.float32)
    image[:, 1] *= 1e6
    scales = scales_of(image)
    assert scales.shape == (1, 3, 1, 1)
    assert scales.flatten().tolist() == [1, 1e6, 1]


def test_a_slice_of_zeros_has_the_scale_of_the_smallest_one() -> None:
    assert scales_of(beside_times(0.0, 0.5))[0, 1:].tolist() == [0.5, 0.5]


def test_a_slice_of_zeros_next_to_large_numbers_only() -> None:
    expected = np.array([[2e6, 0.0], [-1e6, 0.0]], np.float32)
    assert scales_of(expected).tolist() == [[2e6, 1.0]]
    assert compare_arrays("y", expected, expected + np.float32([0, 0.1])).problem is not None
    assert compare_arrays("y", expected, expected + np.float32([0, 1e-6])).problem is None


@pytest.mark.parametrize("array", [np.zeros((2, 3)), np.empty((0, 3)), np.ones(5), np.array(3.0), np.ones((3, 1))])
def test_nothing_to_tell_apart(array: Any) -> None:
    assert not is_sliced(scales_of(array))


def test_non_finite_elements_are_ignored() -> None:
    assert scales_of(np.array([[np.inf, 2.0], [3.0, np.nan]])) == 3


def test_only_slices_of_noise_are_compared_by_their_noise() -> None:
    expected = beside_times(1e-6, 0.5)
    changed = beside_times(4e-6, 0.5)
    scales = with_noise(scales_of(expected), expected, [expected, changed], atol=2e-5)
    assert scales[0, 0] == scales_of(expected)[0, 0]
    assert scales[0, 1] == pytest.approx(1.5)  # ten times its noise is within the tolerance
    assert scales[0, 2] == 0.5
    other = beside_times(9e-6, 0.5)
    assert compare_arrays("y", expected, other).problem is not None
    assert compare_arrays("y", expected, other, scales=scales).problem is None


def test_an_output_of_another_shape_tells_no_noise() -> None:
    expected = beside_times(0.5)
    scales = scales_of(expected)
    assert with_noise(scales, expected, [expected[:2] * 2], 1e-5).tolist() == scales.tolist()
