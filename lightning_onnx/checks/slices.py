"""The part of an output that can be compared where rounding changes some of its slices, such as phases next to sizes.

A slice that no changed run of the module touches is right or wrong by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.checks.comparison import Array, differing
from lightning_onnx.checks.scales import Scales, others, slice_axes

_FEWEST_CHANGES = 10
"""Noise has to change this many elements: only then are slices that it does not change unlikely to be so by chance."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of an output that noise does not change.

    Attributes:
        elements: For each element of the output, whether it belongs to the part.
        axis: The dim along which slices are left out.
        left_out: Number of slices that are left out.
    """

    elements: NDArray[np.bool_]
    axis: int
    left_out: int

    @property
    def share(self) -> float:
        """The share of the output's slices."""
        slices: int = self.elements.shape[self.axis]
        return 1 - self.left_out / slices

    def __str__(self) -> str:
        return f"{self.left_out} of {self.elements.shape[self.axis]} slices along dim {self.axis}"


def decisive_part(
    expected: Array,
    actual: Array,
    changed: Iterable[Array],
    tolerance: tuple[float, float],
    scales: Scales | None = None,
) -> Part | None:
    """Return the part of an output that rounding does not change; None if there is none, or if it says too little.

    Slices are those along the last dim or along the channels, as for ``scales_of``. If the file chose another row, such
    as another box of a detector, where no changed run did, that row is left out.

    Args:
        expected: The module's output.
        actual: The runtime's output, of the same shape and dtype.
        changed: The module's output after harmless changes; read only as long as some slice is left.
        tolerance: ``rtol`` and ``atol``.
        scales: The scale of each element; default: ``scales_of(expected)``.
    """
    axes = slice_axes(expected)
    noise, changes = np.zeros(expected.shape, np.bool_), 0
    for array in changed:
        if array.shape != expected.shape:
            return None
        now = differing(expected, array, tolerance, scales)
        noise |= now
        changes += int(now.sum())
        axes = [axis for axis in axes if not _noisy(noise, axis).all()]
        if not axes:
            return None
    if changes < _FEWEST_CHANGES:
        return None
    wrong = differing(expected, actual, tolerance, scales)
    parts = [_part(noise, wrong, axis) for axis in axes]
    part = max(parts, key=lambda p: int(p.elements.sum()))
    return None if _is_constant(expected[part.elements]) else part


def _part(noise: NDArray[np.bool_], wrong: NDArray[np.bool_], axis: int) -> Part:
    noisy = _noisy(noise, axis)
    is_other_row = (wrong & noisy).any(axis, keepdims=True) & ~noise.any(axis, keepdims=True)
    return Part(~noisy & ~is_other_row, axis, int(noisy.sum()))


def _noisy(noise: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Tell for each slice whether it holds noise; broadcastable to the output."""
    return np.asarray(noise.any(others(noise, axis), keepdims=True))


def _is_constant(elements: Array) -> bool:
    return bool((elements == elements[:1]).all())
