"""The report as one page of HTML: what a manifest says, put into ``report.html.jinja``."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lightning_onnx.manifest.figures import ComparisonFigures, OutputFigures
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.results import CheckRecord, Status
from lightning_onnx.report import module_tree, ratio_plot, tables, wording
from lightning_onnx.report.shape_ranges import size_tables
from lightning_onnx.report.snippet import snippet
from lightning_onnx.report.tables import Table, size
from lightning_onnx.report.templates import template
from lightning_onnx.report.verdict import needs_attention, sentence, verdict

if TYPE_CHECKING:
    from markupsafe import Markup

log = logging.getLogger(__name__)

MARKS = {"passed": "✓", "failed": "✗", "skipped": "–", "not checked": "–"}


def render(manifest: Manifest) -> str:
    """Return one page that needs nothing else: no network, no other file, no script.

    Args:
        manifest: The artifact's manifest.
    """
    graph = manifest.graph
    whole = module_tree.tree(graph.modules)
    page = template("report.html.jinja").render(
        marks=MARKS,
        size=size,
        title=wording.headline(manifest),
        what=wording.what(manifest),
        verdict=verdict(manifest),
        sentence=sentence(manifest),
        needs_attention=needs_attention(manifest),
        cards=wording.cards(manifest),
        about=_pairs("", [row for row in wording.model(manifest) if row[0] not in ("method", "opset")]),
        weights=_pairs("", wording.weights(manifest)),
        signature=Table("", ("name", "", "dtype", "shape"), [[v[1], v[0], *v[2:]] for v in wording.tensors(manifest)]),
        conditions=manifest.signature.conditions,
        sizes=[table for table in size_tables(manifest) if table.rows],
        checks=[_check(check) for check in manifest.checks],
        variants=Table("", wording.VARIANT_COLUMNS[:-1], [row[:-1] for row in wording.variants(manifest)]),
        variant_reasons=[(row[0], row[-1]) for row in wording.variants(manifest) if row[-1]],
        variant_metrics=Table("Metrics", wording.METRIC_COLUMNS, wording.variant_metrics(manifest)),
        snippet=snippet(manifest),
        nodes=graph.nodes,
        kinds=len(graph.operators),
        operator_rows=_bars((name, str(count), count) for name, count in graph.operators.items()),
        size_rows=_bars((m.name, size(m.bytes), m.bytes) for m in whole.largest()),
        whole=whole,
        own={name: own.operators for name, own in graph.modules.items()},
        notes=manifest.notes,
        metadata=_pairs("", manifest.metadata.items()),
        versions=_pairs("", manifest.versions.items()),
    )
    return str(page)


def _pairs(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    return Table(title, (), [list(row) for row in rows])


def _bars(rows: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, float]]:
    known = list(rows)
    most = max([1, *(number for _, _, number in known)])
    return [(name, text, number / most) for name, text, number in known]


@dataclasses.dataclass(frozen=True)
class _CheckView:
    """What the page shows of a check.

    Attributes:
        name: Name of the check.
        status: How it ended.
        reason: Why.
        plot: Its plot, None if there is none.
        problem: Why the plot is missing, if it could not be drawn.
        undrawn: Number of outputs that the plot leaves out.
        tables: Its figures.
        cases: The figures that the plot shows, for those who cannot see it.
    """

    name: str
    status: Status
    reason: str | None
    plot: Markup | None
    problem: str | None
    undrawn: int
    tables: list[Table]
    cases: Table | None


def _check(check: CheckRecord) -> _CheckView:
    """Any check may have figures, and a plot if its outputs have ratios."""
    from markupsafe import Markup

    found = ComparisonFigures.find(check.figures)
    outputs = {name: output for name, output in found.outputs.items() if output.worst_ratio}
    drawn, problem = None, None
    if outputs and found.ratio_edges:
        try:
            drawn = Markup(ratio_plot.draw(outputs, found.ratio_edges) or "")  # it escapes the names in it
        except Exception as error:  # an export is not lost for a plot; the message may hold a path of this machine
            log.warning("the plot of check %r is left out of the report", check.name, exc_info=True)
            problem = type(error).__name__
    return _CheckView(
        check.name,
        check.status,
        check.reason,
        drawn,
        problem,
        max(len(outputs) - ratio_plot.MOST, 0),
        tables.tables({k: v for k, v in check.figures.items() if not (outputs and k in ("cases", "outcomes"))}),
        _cases(outputs, found.outcomes),
    )


def _cases(outputs: Mapping[str, OutputFigures], outcomes: Mapping[str, str]) -> Table | None:
    """Return how each case ended, with each output's largest difference as a share of the tolerance."""
    labels = dict.fromkeys([*(label for output in outputs.values() for label in output.worst_ratio), *outcomes])
    told = [("outcome", outcomes)] if outcomes else []
    rows = [
        [
            label,
            *(column.get(label, "") for _, column in told),
            *(tables.text(o.worst_ratio.get(label)) for o in outputs.values()),
        ]
        for label in labels
    ]
    return Table("", ("", *(name for name, _ in told), *outputs), rows) if rows else None
