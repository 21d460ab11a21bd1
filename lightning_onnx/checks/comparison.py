"""How one output of one case compares: tolerances by dtype, and the figures of a comparison."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

DEFAULT_TOLERANCES: dict[str, tuple[float, float]] = {
    "float64": (1e-7, 1e-7),
    "complex128": (1e-7, 1e-7),
    "float32": (1e-4, 2e-5),
    "complex64": (1e-4, 2e-5),
    "float16": (1e-3, 2e-3),
    "bfloat16": (1.6e-2, 1e-2),
}
"""``rtol`` and ``atol`` (as a share of the output's scale) by dtype.

They start from ``torch.testing.assert_close`` (float32: 1.3e-6 and 1e-5 for one operation) and leave room for what a
network of a hundred operations adds when two programs sum in different orders: 1e-6 to 1e-5 of the scale.
"""

_SENSITIVE = 1e-3
"""Share of the scale up to which a difference is taken for rounding, where the module's own rounding does the same:
a thousandth changes no decision that is not a tie."""

_FLOOR = {"float64": 1e-16, "complex128": 1e-16}

_FLOOR_FLOAT32 = 6e-8
"""Differences below half a unit in the last place of 1 never count: an output may be the rest of a cancellation."""

RATIO_EDGES = tuple(float(f"1e{exponent}") for exponent in range(-6, 4))
"""Between these the elements are counted by difference as a share of what is allowed: 1 is the tolerance."""

_COUNTED = 2**16
"""Elements counted at most, evenly spread: a map of a million pixels would take longer to count than to compare."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How one output of one case compares.

    Attributes:
        output: Name of the output.
        problem: What is wrong with it, None where nothing is.
        max_abs_diff: Largest absolute difference.
        max_rel_diff: Largest absolute difference as a share of the output's scale.
        outside: Share of the elements outside the tolerance.
        needed_atol: The ``atol`` (as a share of the scale) that would let all pass.
        top1_agreement: Share of rows whose largest element stands in the same place; None where rows have one element.
        kind: What the problem is about: ``"values"``, ``"shape"``, or another thing that noise cannot explain.
        noise: Whether the module's own output changes as much when inputs and parameters change by rounding.
        constant: Whether all expected elements are equal or there are none, so that the comparison says little; None
            for a single element, of which this cannot be said.
        worst_ratio: Largest difference as a share of what is allowed there; None where floats were not compared.
        ratios: How many elements lie between ``RATIO_EDGES``, from below the first to above the last.
    """

    output: str
    problem: str | None = None
    kind: str | None = None
    noise: bool = False
    max_abs_diff: float = 0.0
    max_rel_diff: float = 0.0
    outside: float = 0.0
    needed_atol: float = 0.0
    top1_agreement: float | None = None
    constant: bool | None = None
    worst_ratio: float | None = None
    ratios: tuple[int, ...] = ()

    @property
    def is_small(self) -> bool:
        """Whether it is far from changing a decision that is no tie, as what rounding does is."""
        return self.kind == "values" and 0 < self.max_rel_diff <= _SENSITIVE


def _same_non_finite(expected: Array, actual: Array) -> bool:
    if not np.array_equal(np.isnan(expected), np.isnan(actual)):
        return False
    infinite = np.isinf(expected)
    return np.array_equal(infinite, np.isinf(actual)) and bool((expected[infinite] == actual[infinite]).all())


def _counted(ratio: NDArray[np.floating[Any]]) -> tuple[int, ...]:
    some = ratio[:: -(-ratio.size // _COUNTED)]
    return tuple(np.bincount(np.digitize(some, RATIO_EDGES), minlength=len(RATIO_EDGES) + 1).tolist())


def _top1(expected: Array, actual: Array) -> float | None:
    if expected.ndim == 0 or expected.shape[-1] < 2 or np.iscomplexobj(expected):
        return None
    return float((expected.argmax(-1) == actual.argmax(-1)).mean())
