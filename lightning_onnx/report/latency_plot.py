"""Latency as bars in an SVG: the median of each program at each batch size, and a line to the 95th percentile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_onnx.report import tables
from lightning_onnx.report.templates import template

_WIDTH, _NARROW = 640, 440
_ROW, _GAP = 22, 30
_LABEL = 172
"""Room for the figures behind a bar."""

_LETTER = 6.5
"""About the width of a letter, to leave room for the longest name."""


@dataclasses.dataclass(frozen=True)
class _Bar:
    name: str
    top: float
    median: float
    late: float
    label: str


@dataclasses.dataclass(frozen=True)
class _Group:
    batch: str
    top: float
    bars: list[_Bar]


def write(measured: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Write the plot as a file of its own.

    Args:
        measured: By ``"batch_<size>"`` the figures of each program: ``p50_ms``, ``p95_ms``, ``items_per_second``.
        path: An ``.svg`` file.

    Raises:
        ValueError: If it has another suffix.
        OSError: If it cannot be written.
    """
    if path.suffix != ".svg":
        raise ValueError(f"it is written as SVG, not as {path.suffix or 'a file without a suffix'}")
    path.write_text(_svg(measured, _WIDTH, is_file=True), encoding="utf-8")


def draw(figures: Mapping[str, Any]) -> str | None:
    """Draw the plot for a page, which brings colours and font.

    Args:
        figures: The figures of the check ``Latency``.

    Returns:
        An ``<svg>`` element, or None if nothing was measured.
    """
    measured = {key: table for key, table in figures.items() if key.startswith("batch_") and table}
    return _svg(measured, _NARROW, is_file=False) if measured else None


def _svg(measured: Mapping[str, Mapping[str, Mapping[str, Any]]], width: int, *, is_file: bool) -> str:
    left = 20 + round(_LETTER * max(len(name) for table in measured.values() for name in table))
    longest = max(width - left - _LABEL, 40)
    groups: list[_Group] = []
    top = 22.0
    for key, table in measured.items():
        groups.append(_group(key.removeprefix("batch_"), table, top, longest))
        top += _ROW * len(table) + _GAP
    return template("latency.svg.jinja").render(
        width=left + longest + _LABEL, height=top + 10, left=left, groups=groups, is_file=is_file
    )


def _group(batch: str, table: Mapping[str, Mapping[str, Any]], top: float, width: float) -> _Group:
    longest = max(max(own["p50_ms"], own["p95_ms"]) for own in table.values())
    bars = []
    for place, (name, own) in enumerate(table.items()):
        median, late = (round(width * own[key] / longest, 1) for key in ("p50_ms", "p95_ms"))
        label = f"{tables.text(own['p50_ms'])} ms, {tables.text(own['items_per_second'])} items/s"
        bars.append(_Bar(name, top + 8 + _ROW * place, median, max(median, late), label))
    return _Group(batch, top, bars)
