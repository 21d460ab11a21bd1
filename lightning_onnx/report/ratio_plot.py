"""How far each output stays below its tolerance, as strips in an SVG; the same figures give the same bytes."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from lightning_onnx.manifest.figures import OutputFigures
from lightning_onnx.report.templates import template

MOST = 16
"""The most outputs that are drawn; if there are more, those nearest to their tolerance."""

_WIDTH, _LEFT, _RIGHT = 390.0, 8.0, 382.0  # so that the text can be read on a telephone
_ROW = 36
_LOW, _HIGH = 1e-7, 1e4
_TICKS = {1e-6: "10⁻⁶", 1e-4: "10⁻⁴", 1e-2: "10⁻²", 1.0: "1", 1e2: "10²"}


@dataclasses.dataclass(frozen=True)
class _Strip:
    """The elements between two edges: darker where there are more."""

    left: float
    width: float
    shade: float


@dataclasses.dataclass(frozen=True)
class _Row:
    """An output: its name, the strips below it, and a mark for the largest difference of each case."""

    name: str
    top: float
    strips: list[_Strip]
    inside: list[float]
    outside: list[float]


def draw(outputs: Mapping[str, OutputFigures], edges: Sequence[float]) -> str | None:
    """Draw how far each output's differences stay below (or go beyond) what is allowed.

    Args:
        outputs: How each output compares.
        edges: Edges between which ``ratios`` counts, ascending; 1 is the tolerance.

    Returns:
        An ``<svg>`` element, or None if no output has such figures.
    """
    drawn = sorted(
        ((name, o) for name, o in outputs.items() if o.worst_ratio),
        key=lambda item: -max(item[1].worst_ratio.values()),
    )[:MOST]
    if not drawn:
        return None
    return template("ratios.svg.jinja").render(
        width=_WIDTH,
        left=_LEFT,
        right=_RIGHT,
        bottom=18 + _ROW * len(drawn),
        tolerance=_x(1.0),
        ticks=[(_x(value), label) for value, label in _TICKS.items()],
        rows=[_row(name, 28 + _ROW * place, output, edges) for place, (name, output) in enumerate(drawn)],
    )


def _row(name: str, top: float, output: OutputFigures, edges: Sequence[float]) -> _Row:
    most = max(output.ratios, default=0)
    strips = [
        _Strip(_x(low), round(_x(high) - _x(low), 2), round(0.12 + 0.6 * count / most, 3))
        for (low, high), count in zip(itertools.pairwise([_LOW, *edges, _HIGH]), output.ratios, strict=False)
        if count
    ]
    worst = output.worst_ratio.values()
    inside, outside = ({_mark(r) for r in worst if (r <= 1) is within} for within in (True, False))
    return _Row(_short(name), top, strips, sorted(inside), sorted(outside))


def _mark(ratio: float) -> float:
    """Return the place of a mark: inside the axis for any ratio, and at its end for NaN."""
    return _x(_HIGH / 1.5 if math.isnan(ratio) else min(max(ratio, _LOW * 1.5), _HIGH / 1.5))


def _x(ratio: float) -> float:
    """Return the place of a ratio on the logarithmic axis."""
    share = math.log(ratio / _LOW) / math.log(_HIGH / _LOW)
    return round(_LEFT + share * (_RIGHT - _LEFT), 2)


def _short(name: str, most: int = 44) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 + 1 :]}"
