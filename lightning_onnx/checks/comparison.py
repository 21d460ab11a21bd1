r"""Compares one output of a file with the module's output.

Floats are compared by ``|actual - expected| <= atol * scale + rtol * |expected|``, where the scale of an output is its
largest magnitude: logits of 400 have float32 noise of 4e-4, but probabilities of 0.1 must not. Slices of one output
that differ by orders of magnitude have scales of their own (``scales``).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.checks.scales import Scales, is_sliced, scales_of

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

They are based on ``torch.testing.assert_close`` (float32: 1.3e-6 and 1e-5 for one operation), and leave room for the
differences of a network of a hundred operations if two programs sum in different orders: 1e-6 to 1e-5 of the scale.
"""

_SMALL = 1e-3
"""A difference up to this share of the scale counts as rounding if the module's own rounding has the same effect:
a thousandth changes no decision except a tie."""

_PIXEL_RANGE = 32
"""Values of ``uint8`` that differ by so much are shades of an image, not labels: there, one unit is rounding."""

_FEW_PIXELS = 0.1
"""Programs that round after other steps differ in fewer pixels than this; one that cuts off, in about half of them."""

_FLOOR = {"float64": 1e-16, "complex128": 1e-16}

_FLOOR_FLOAT32 = 6e-8
"""Differences below half a unit in the last place of 1 never count: an output may be the residue of a cancellation."""

_RESIDUE = 10
"""Differences of at most so many times the smallest one that counts are rounding if the module's own is as large: a sum
of values that cancel has nothing but rounding errors."""

RATIO_EDGES = tuple(float(f"1e{exponent}") for exponent in range(-6, 4))
"""Edges of the histogram of differences, each as a share of the tolerance."""

_COUNTED = 2**16
"""At most this many elements are counted, evenly spread: counting a million pixels would take longer than comparing."""

_LARGEST_RATIO = 1e300
"""JSON has no infinity."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The comparison of one output in one case.

    Attributes:
        output: Name of the output.
        problem: What is wrong with the output; None if it is right.
        kind: Kind of the problem: ``"values"``, ``"shape"``, ``"finite"`` (NaN and infinity), or None for anything
            else, such as the dtype.
        excuse: Why the problem is not a failure: ``"noise"`` (rounding changes the module's own output as much),
            ``"random"`` (the module draws random numbers), ``"undefined"`` (the module's output is not finite on values
            or sizes that were not observed) or ``"refused"`` (the module does not take them). None without an excuse.
        undefined: Whether the module's output is not finite wherever the two differ.
        sliced: Whether slices of the output were compared by scales of their own.
        is_of_pixels: Whether the two are images of ``uint8`` that differ by one unit in few pixels.
        is_residue: Whether the difference is about as small as the smallest one that counts, whatever the scale.
        left_out: Slices that are noise, so that only the others were compared; None if all were.
        max_abs_diff: Largest absolute difference.
        max_rel_diff: Largest absolute difference as a share of the output's scale.
        outside: Share of the elements outside the tolerance.
        needed_atol: The ``atol`` (as a share of the scale) that would let all elements pass.
        top1_agreement: Share of rows whose largest element has the same index; None without rows of several elements.
        constant: Whether all expected elements are equal or there are none, so that the comparison says little; None
            for a single element.
        is_empty: Whether the output has no elements, so that nothing was compared but dtype and shape.
        worst_ratio: Largest difference as a share of the tolerance of its element; None if floats were not compared.
        ratios: Number of elements between ``RATIO_EDGES``, from below the first to above the last.
    """

    output: str
    problem: str | None = None
    kind: Literal["values", "shape", "finite"] | None = None
    excuse: Literal["noise", "random", "undefined", "refused"] | None = None
    undefined: bool = False
    sliced: bool = False
    is_of_pixels: bool = False
    is_residue: bool = False
    left_out: str | None = None
    max_abs_diff: float = 0.0
    max_rel_diff: float = 0.0
    outside: float = 0.0
    needed_atol: float = 0.0
    top1_agreement: float | None = None
    constant: bool | None = None
    is_empty: bool = False
    worst_ratio: float | None = None
    ratios: tuple[int, ...] = ()

    @property
    def is_failure(self) -> bool:
        """Whether there is a problem without an excuse."""
        return self.problem is not None and self.excuse is None

    @property
    def is_small(self) -> bool:
        """Whether the difference is as small as rounding: too small to change any decision except a tie."""
        is_small = self.kind == "values" and 0 < self.max_rel_diff <= _SMALL
        return is_small or self.is_of_pixels or self.is_residue

    @property
    def concerns_non_finite(self) -> bool:
        """Whether the problem is about NaN or infinity."""
        return self.problem is not None and (self.kind == "finite" or self.undefined)

    @property
    def is_undecided(self) -> bool:
        """Whether the two differ so much that nobody can tell whether the file is right."""
        return self.excuse is not None and not (self.excuse == "noise" and self.is_small)


def tolerances(dtype: np.dtype[Any], rtol: float | None = None, atol: float | None = None) -> tuple[float, float]:
    """Return ``rtol`` and ``atol``; the defaults depend on the dtype."""
    default_rtol, default_atol = DEFAULT_TOLERANCES.get(str(dtype), DEFAULT_TOLERANCES["bfloat16"])
    return default_rtol if rtol is None else rtol, default_atol if atol is None else atol


def compare_arrays(
    name: str,
    expected: Array,
    actual: Array,
    rtol: float | None = None,
    atol: float | None = None,
    scales: Scales | None = None,
) -> Comparison:
    """Compare one output.

    Args:
        name: Name of the output.
        expected: The module's array.
        actual: The runtime's array.
        rtol: Relative tolerance for floats; default: by dtype, see ``DEFAULT_TOLERANCES``.
        atol: Tolerance as a share of the output's scale; default: by dtype.
        scales: The scale of each element; default: ``scales_of(expected)``.
    """
    if actual.dtype != expected.dtype:
        return Comparison(name, f"dtype is {actual.dtype}, but the module returns {expected.dtype}")
    if actual.shape != expected.shape:
        return Comparison(name, f"shape is {actual.shape}, but the module returns {expected.shape}", "shape")
    if expected.size == 0:
        return Comparison(name, constant=True, is_empty=True)
    constant = bool((expected == expected.flat[0]).all()) if expected.size > 1 else None
    if not np.issubdtype(expected.dtype, np.inexact):
        differ = float((actual != expected).mean())
        problem = f"{differ:.2%} of the elements differ" if differ else None
        found = Comparison(name, problem, "values", outside=differ, constant=constant)
        return _of_pixels(found, expected, actual) if differ and expected.dtype == np.uint8 else found
    other = _other_non_finite(expected, actual)
    if other.any():
        problem = "NaN or infinity is in different places"
        undefined = not np.isfinite(expected[other]).any()
        return Comparison(name, problem, "finite", undefined=undefined, outside=float(other.mean()), constant=constant)
    if not np.isfinite(expected).any():
        problem = "no element of the module's output is finite"
        return Comparison(name, problem, undefined=True, outside=1.0, constant=True)
    compared = _compare_finite(name, expected, actual, tolerances(expected.dtype, rtol, atol), scales)
    return dataclasses.replace(compared, constant=constant)


def _of_pixels(found: Comparison, expected: Array, actual: Array) -> Comparison:
    """Add whether the two arrays of ``uint8`` are images that differ as images do that were rounded after other steps.

    Args:
        found: The comparison.
        expected: The module's array.
        actual: Another one.
    """
    want, got = expected.astype(np.int16), actual.astype(np.int16)
    largest = int(np.abs(got - want).max())
    is_image = int(want.max()) - int(want.min()) >= _PIXEL_RANGE
    is_of_pixels = is_image and largest == 1 and found.outside <= _FEW_PIXELS
    return dataclasses.replace(found, is_of_pixels=is_of_pixels, max_abs_diff=float(largest))


def differing(
    expected: Array, actual: Array, tolerance: tuple[float, float], scales: Scales | None = None
) -> NDArray[np.bool_]:
    """Tell for each element whether it is outside the tolerance, or not finite in one of the two arrays.

    Args:
        expected: The module's array.
        actual: An array of the same shape and dtype.
        tolerance: ``rtol`` and ``atol``.
        scales: The scale of each element; default: ``scales_of(expected)``.
    """
    if not np.issubdtype(expected.dtype, np.inexact):
        return np.asarray(expected != actual)
    finite = np.isfinite(expected) & np.isfinite(actual)
    want, got = _widened(np.where(finite, expected, 0)), _widened(np.where(finite, actual, 0))
    scales = scales_of(expected) if scales is None else scales
    allowed = _allowed(np.abs(want), scales, tolerance, expected.dtype)
    found: NDArray[np.bool_] = (np.abs(got - want) > allowed) | _other_non_finite(expected, actual)
    return found


def _allowed(
    magnitude: NDArray[np.float64], scales: Scales, tolerance: tuple[float, float], dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    """Return the largest difference of each element."""
    rtol, atol = tolerance
    allowed: NDArray[np.float64] = np.maximum(atol * scales + rtol * magnitude, _floor(dtype))
    return allowed


def _floor(dtype: np.dtype[Any]) -> float:
    return _FLOOR.get(str(dtype), _FLOOR_FLOAT32)


def _widened(array: Array) -> NDArray[Any]:
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _compare_finite(
    name: str, expected: Array, actual: Array, tolerance: tuple[float, float], scales: Scales | None
) -> Comparison:
    """Compare the finite elements of float arrays."""
    rtol, _ = tolerance
    finite = np.isfinite(expected)
    want, got = _widened(expected[finite]), _widened(actual[finite])
    difference, magnitude = np.abs(got - want), np.abs(want)
    scales = scales_of(expected) if scales is None else scales
    scale = np.broadcast_to(scales, expected.shape)[finite]
    floor = _floor(expected.dtype)
    allowed = _allowed(magnitude, scale, tolerance, expected.dtype)
    ratio = difference / allowed
    outside = float((difference > allowed).mean())
    worst = float(difference.max())
    over = np.maximum(difference - rtol * magnitude, 0)
    return Comparison(
        name,
        f"{outside:.2%} of the elements are outside the tolerance, by up to {worst:.2e}" if outside else None,
        "values",
        sliced=is_sliced(scales),
        is_residue=0 < worst <= _RESIDUE * floor,
        max_abs_diff=worst,
        max_rel_diff=float((difference / scale).max()) if scale.all() else float(worst > floor),
        outside=outside,
        needed_atol=float((over / scale).max()) if scale.all() else 0.0,
        top1_agreement=_top1(expected, actual),
        worst_ratio=min(float(ratio.max()), _LARGEST_RATIO),
        ratios=_count_ratios(ratio),
    )


def _other_non_finite(expected: Array, actual: Array) -> NDArray[np.bool_]:
    """Return where one of the two arrays is NaN or infinite, and the other is different."""
    both_nan = np.isnan(expected) & np.isnan(actual)
    either = ~np.isfinite(expected) | ~np.isfinite(actual)
    found: NDArray[np.bool_] = either & ~both_nan & (expected != actual)
    return found


def _count_ratios(ratio: NDArray[np.float64]) -> tuple[int, ...]:
    some = ratio[:: -(-ratio.size // _COUNTED)]
    return tuple(np.bincount(np.digitize(some, RATIO_EDGES), minlength=len(RATIO_EDGES) + 1).tolist())


def _top1(expected: Array, actual: Array) -> float | None:
    if expected.ndim < 2 or expected.shape[-1] < 2 or np.iscomplexobj(expected):
        return None
    return float((expected.argmax(-1) == actual.argmax(-1)).mean())
