"""Plots of a report as SVG that takes its colours from the page; the same figures give the same bytes."""

from __future__ import annotations

import contextlib
import html
import io
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_onnx.manifest.figures import OutputFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 16
"""The most outputs that are drawn; if there are more, those nearest to their tolerance."""

_COLOURS = {"#010101": "var(--ink)", "#020202": "var(--soft)", "#030303": "var(--bad)", "#040404": "var(--accent)"}
"""Placeholder colours, and the variables that replace them in the page, which may be light or dark."""

_INK, _SOFT, _BAD, _ACCENT = _COLOURS

_WIDTH = 5.4  # inches of 72 points: about 390 pixels, so that the text can be read on a telephone
_ROW = 0.5
_LOW, _HIGH = 1e-7, 1e4
_STYLES = re.compile(
    r"(?!axes3d)(axes|figure|font|grid|lines|mathtext|patch|path|savefig|svg|text|xaxis|xtick|yaxis|ytick)\."
)
_LOCK = threading.Lock()


def ratios(outputs: Mapping[str, OutputFigures], edges: Sequence[float]) -> str | None:
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
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    height = _ROW * len(drawn) + 0.75
    with _own_style():
        figure = Figure(figsize=(_WIDTH, height), facecolor="none")
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0.02, 0.62 / height, 0.96, 1 - 0.75 / height), facecolor="none")
        _axis(axes, len(drawn))
        for row, (_, output) in enumerate(drawn):
            _row(axes, row, output, edges)
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    svg = _for_page(file.getvalue(), "Largest difference of each output as a share of its tolerance")
    for row, (name, _) in enumerate(drawn):
        svg = svg.replace(_placeholder(row), html.escape(_short(name)))
    return svg


def _axis(axes: Axes, rows: int) -> None:
    axes.set_xscale("log")
    axes.set_xlim(_LOW, _HIGH)
    axes.set_ylim(rows - 0.25, -0.75)
    axes.set_yticks([])
    labels = {1e-6: "10⁻⁶", 1e-4: "10⁻⁴", 1e-2: "0.01", 1.0: "1", 1e2: "100"}
    axes.set_xticks(list(labels), list(labels.values()))
    axes.minorticks_off()
    axes.tick_params(color=_SOFT, labelcolor=_SOFT, labelsize=10, length=3)
    axes.set_xlabel("difference as a share of what is allowed", color=_SOFT, fontsize=10)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_SOFT)
    axes.axvspan(1, _HIGH, color=_BAD, alpha=0.08, linewidth=0)
    axes.axvline(1, color=_BAD, linewidth=1.2)
    axes.text(1.25, -0.62, "tolerance", color=_BAD, fontsize=10, va="center")


def _row(axes: Axes, row: int, output: OutputFigures, edges: Sequence[float]) -> None:
    """Draw a strip that is darker where there are more elements, a mark for each case's worst, and the name above."""
    axes.text(_LOW, row - 0.28, _placeholder(row), color=_INK, fontsize=10, va="center")
    counts = output.ratios
    bounds = [_LOW, *edges, _HIGH]
    most = max(counts, default=0)
    for low, high, count in zip(bounds, bounds[1:], counts, strict=False):
        if count:
            shade = 0.12 + 0.6 * count / most
            axes.barh(row + 0.12, high - low, 0.34, left=low, color=_ACCENT, alpha=round(shade, 3), linewidth=0)
    worst = [min(max(value, _LOW * 1.5), _HIGH / 1.5) for value in output.worst_ratio.values()]
    inside, outside = [w for w in worst if w <= 1], [w for w in worst if w > 1]
    for values, colour, marker in ((inside, _INK, "|"), (outside, _BAD, "x")):
        axes.plot(values, [row + 0.12] * len(values), marker, color=colour, markersize=9, markeredgewidth=1.6)


def _placeholder(row: int) -> str:
    """Return a placeholder for a name that may contain formulas, or letters that matplotlib's font does not have."""
    return f"@{row}@"


def _short(name: str, most: int = 44) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 + 1 :]}"


@contextlib.contextmanager
def _own_style() -> Iterator[None]:
    """Draw in matplotlib's own style, whatever the user's is, and restore the user's afterwards.

    Another thread may be drawing with the same settings, so only those that differ are changed. Those of the backend
    are not even read, because reading them chooses a backend. ``rc_context`` would restore all settings.
    """
    import matplotlib

    own = {key: value for key, value in matplotlib.rcParamsDefault.items() if _STYLES.match(key)}
    own |= {"svg.hashsalt": "lightning-onnx", "svg.fonttype": "none"}
    with _LOCK:
        before = {key: matplotlib.rcParams[key] for key, value in own.items() if matplotlib.rcParams[key] != value}
        try:
            matplotlib.rcParams.update({key: own[key] for key in before})
            yield
        finally:
            matplotlib.rcParams.update(before)


def _for_page(svg: str, label: str) -> str:
    """Remove everything before the element, and let the page choose colours, font and size."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[a-z2.]+_\d+"', "", svg)  # not used, and not unique if a page has several plots
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    head = rf'<svg viewBox="\1" role="img" aria-label="{label}">'
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', head, svg, count=1)
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg
