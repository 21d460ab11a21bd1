"""Answers beside their targets: a confusion matrix as a table, and residuals as an SVG."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lightning_onnx.manifest.answers import Answers, Residuals
from lightning_onnx.report.tables import text
from lightning_onnx.report.templates import template

_WIDTH, _HEIGHT = 390, 190  # so that the text can be read on a telephone
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 382, 8, 150
_LETTERS = 9
"""Height of a line of text."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a confusion matrix.

    Attributes:
        number: Samples with the module's answer; with the file's behind an arrow, if they differ.
        shade: The share of the row's samples, from 0 to 1.
        is_right: Whether target and answer are the same class.
    """

    number: str
    shade: float
    is_right: bool


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A confusion matrix: for each class of the targets, the samples by class of the answer."""

    labels: Sequence[str]
    rows: list[tuple[str, list[Cell]]]


def matrix(module: Answers, file: Answers, labels: Sequence[str]) -> Matrix | None:
    """Return the confusion matrix of module and file, None unless both have one with a name for each class."""
    if not module.confusion or not len(module.confusion) == len(file.confusion) == len(labels):
        return None
    rows = []
    for target, (own, other) in enumerate(zip(module.confusion, file.confusion, strict=True)):
        whole = max(sum(own), sum(other), 1)
        cells = [
            Cell(str(a) if a == b else f"{a} → {b}", max(a, b) / whole, target == answer)
            for answer, (a, b) in enumerate(zip(own, other, strict=True))
        ]
        rows.append((labels[target], cells))
    return Matrix(labels, rows)


def draw(residuals: Residuals) -> str:
    """Return an ``<svg>`` element: where the differences from the targets lie, stronger for more."""
    most = max((count for row in residuals.counts for count in row), default=0)
    height = (_BOTTOM - _TOP) / max(len(residuals.counts), 1)
    cells = [
        (
            round(_LEFT + column * (_RIGHT - _LEFT) / len(row), 2),
            round(_BOTTOM - (place + 1) * height, 2),
            round((_RIGHT - _LEFT) / len(row), 2),
            round(0.15 + 0.85 * count / most, 3),
        )
        for place, row in enumerate(residuals.counts)
        for column, count in enumerate(row)
        if count
    ]
    low, high = residuals.differences
    zero = round(_BOTTOM - (0 - low) / (high - low) * (_BOTTOM - _TOP), 2) if low <= 0 <= high else None
    ends = [text(value) for value in residuals.differences]
    if zero is not None:  # whose own label has the place of an end's beside it
        ends = ["" if abs(zero + 3.5 - y) < _LETTERS else end for end, y in zip(ends, (_BOTTOM, _TOP + 8), strict=True)]
    return template("residuals.svg.jinja").render(
        width=_WIDTH, height=_HEIGHT, left=_LEFT, right=_RIGHT, top=_TOP, bottom=_BOTTOM, zero=zero,
        cell_height=round(height, 2), cells=cells, count=sum(map(sum, residuals.counts)),
        across=[text(value) for value in residuals.targets], along=ends,
    )  # fmt: skip
