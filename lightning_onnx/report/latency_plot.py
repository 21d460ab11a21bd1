"""Latency as bars: the median of each program at each batch size, and a line to the 95th percentile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ROW = 0.36  # inches


def draw(tables: Mapping[str, Mapping[str, Mapping[str, Any]]], path: Path) -> None:
    """Write the plot.

    Args:
        tables: By ``"batch_<size>"`` the figures of each program: ``p50_ms``, ``p95_ms``, ``items_per_second``.
        path: Its suffix chooses the format.

    Raises:
        ValueError: If matplotlib does not know the format.
        OSError: If it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = sum(len(table) for table in tables.values())
    figure = Figure(figsize=(7, _ROW * rows + 0.5 * len(tables) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [len(table) for table in tables.values()]
    all_axes = figure.subplots(len(tables), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for (key, table), axes in zip(tables.items(), all_axes[:, 0], strict=True):
        names = list(table)
        middle = [table[name]["p50_ms"] for name in names]
        late = [max(table[name]["p95_ms"] - p50, 0) for name, p50 in zip(names, middle, strict=True)]
        bars = axes.barh(range(len(names)), middle, xerr=[[0] * len(names), late], color="#2f6fb3", ecolor="#5b6675")
        labels = [f"{table[name]['items_per_second']:.3g} items/s" for name in names]
        axes.bar_label(bars, labels, padding=6, fontsize=8)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(x=0.25)
        axes.set_title(f"batch {key.removeprefix('batch_')}", loc="left", fontsize=10)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    all_axes[-1, 0].set_xlabel("milliseconds for a call: median, and to the 95th percentile")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
