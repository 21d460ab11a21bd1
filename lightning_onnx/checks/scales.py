"""The scale of each element of an output: that of its slice, if slices differ by orders of magnitude."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

_APART = 1e3
"""If one slice is this many times larger than another, slices have their own scales: a time next to probabilities."""

_FAR_APART = 1e5
_GAP = 10
"""Slices that are not far apart have their own scales only if no slice lies in such a gap between two of them: of a
thousand logits some are near zero by chance."""

_ZEROS = 1.0
"""The largest scale of a slice of zeros: 0.1 in place of 0 is wrong, however large the numbers next to it are."""

_MARGIN = 10
"""A slice may differ by this many times its own noise."""

Array = NDArray[np.generic]
Scales = NDArray[np.float64]


def scales_of(expected: Array) -> Scales:
    """Return the scale of each element, broadcastable to the array: its largest magnitude, or that of the slice.

    Slices are taken along the last dim, or along the second one (the channels of images) if those differ more.

    Args:
        expected: Floats or complex numbers; those that are not finite are ignored.
    """
    magnitude = np.where(np.isfinite(expected), np.abs(expected), 0).astype(np.float64)
    whole = np.asarray(magnitude.max(initial=0.0))
    slices = [
        _filled(magnitude.max(axis=others(expected, axis), keepdims=True, initial=0.0)) for axis in slice_axes(expected)
    ]
    apart, found = max(((_spread(s), s) for s in slices), key=lambda pair: pair[0], default=(1.0, whole))
    if apart <= _APART:
        return whole
    return found


def slice_axes(array: Array) -> list[int]:
    """Return the dims along which an output has slices: the last one, and that of channels; none for a single row."""
    return list(dict.fromkeys((array.ndim - 1, 1))) if array.ndim > 1 else []


def others(array: Array, axis: int) -> tuple[int, ...]:
    """Return all other dims."""
    return tuple(d for d in range(array.ndim) if d != axis)


def is_sliced(scales: Scales) -> bool:
    """Tell whether slices have scales of their own."""
    return scales.ndim > 0


def with_noise(scales: Scales, expected: Array, changed: Iterable[Array], atol: float) -> Scales:
    """Return the scales, raised for slices that are rounding noise, which are compared by their noise.

    Arguments as for ``raised_by_noise``.
    """
    *_, last = scales, *raised_by_noise(scales, expected, changed, atol)
    return last


def raised_by_noise(scales: Scales, expected: Array, changed: Iterable[Array], atol: float) -> Iterator[Scales]:
    """Yield the scales raised by the noise of one changed output, of two, and so on; they never become smaller.

    Args:
        scales: The result of ``scales_of``, with slices.
        expected: The module's output.
        changed: The same output after changes by rounding; each is made when it is needed.
        atol: The tolerance as a share of the scale.
    """
    axis = next(d for d, size in enumerate(scales.shape) if size > 1)
    noise = np.zeros(scales.shape)
    for array in changed:
        if array.shape == expected.shape:
            apart = np.where(np.isfinite(expected) & np.isfinite(array), np.abs(np.subtract(array, expected)), 0)
            noise = np.maximum(noise, apart.max(axis=others(expected, axis), keepdims=True))
        is_noise = noise > atol * scales
        raised = np.minimum(_MARGIN * noise / atol, scales.max()) if atol else scales
        yield np.where(is_noise, np.maximum(scales, raised), scales)


def _filled(slices: Scales) -> Scales:
    """Return the magnitudes of slices, with the scale of zeros for slices of zeros if there are others."""
    some = slices[slices > 0]
    return np.where(slices > 0, slices, min(some.min(), _ZEROS)) if some.size else slices


def _spread(slices: Scales) -> float:
    """Return how many times larger the largest slice is than the smallest one; 1 if those between leave no gap."""
    if not slices.size or not slices.min():
        return 1.0
    ordered = np.sort(slices, axis=None)
    apart, gap = ordered[-1] / ordered[0], (ordered[1:] / ordered[:-1]).max(initial=1.0)
    return float(apart) if apart > _FAR_APART or gap >= _GAP else 1.0
