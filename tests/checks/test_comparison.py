"""The figures of two arrays, and which differences are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_onnx import Parity

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("scale", [1e-4, 1.0, 400.0])
def test_tolerance_knows_the_scale(scale: float) -> None:
    expected = (np.linspace(-1, 1, 100) * scale).astype(np.float32)
    noise = Parity().compare_output("y", expected, expected + np.float32(1e-6 * scale))
    wrong = Parity().compare_output("y", expected, expected + np.float32(1e-3 * scale))
    assert noise.problem is None
    assert wrong.problem is not None
    np.testing.assert_allclose(wrong.max_rel_diff, 1e-3, rtol=0.1)


def test_figures_are_arithmetic() -> None:
    expected = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = Parity(rtol=0, atol=0.1).compare_output("y", expected, expected + np.array([[0, 1], [0, -2]]))
    assert found.max_abs_diff == 2
    assert found.max_rel_diff == 0.5
    assert found.outside == 0.5
    assert found.needed_atol == 0.5
    assert found.top1_agreement == 0.5


def test_integers_and_booleans_are_equal_or_wrong() -> None:
    for dtype in (np.int64, np.bool_):
        expected = np.array([0, 1, 1], dtype=dtype)
        assert Parity(rtol=1, atol=1).compare_output("y", expected, expected).problem is None
        assert Parity(rtol=1, atol=1).compare_output("y", expected, expected[::-1].copy()).problem is not None


def test_same_nan_and_infinity_agree() -> None:
    expected = np.array([NAN, INF, -INF, 1.0], np.float32)
    assert Parity().compare_output("y", expected, expected.copy()).problem is None
    assert Parity().compare_output("y", expected, -expected).problem is not None
