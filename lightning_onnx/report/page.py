"""The report as one page of HTML: what a manifest says, put into ``report.html.jinja``.

Its only script is ``copy.js``; the page's policy names that script's digest, so that no other can run.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lightning_onnx.manifest.answers import Answers
from lightning_onnx.manifest.figures import ComparisonFigures, OutputFigures
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.results import CheckRecord, Status
from lightning_onnx.report import answers_plot, blocks_plot, latency_plot, module_tree, ratio_plot, tables, wording
from lightning_onnx.report.shape_ranges import size_tables
from lightning_onnx.report.snippet import snippet
from lightning_onnx.report.tables import Table, size
from lightning_onnx.report.templates import template, text
from lightning_onnx.report.verdict import sentence, verdict, worst

if TYPE_CHECKING:
    from markupsafe import Markup

log = logging.getLogger(__name__)

MARKS = {"passed": "✓", "failed": "✗", "skipped": "–", "not checked": "–"}


@dataclasses.dataclass(frozen=True)
class _MethodView:
    """What the page shows of an exported method.

    Attributes:
        name: Name of the method.
        verdict: How its checks ended.
        worst: The worst that is in it.
        sentence: The verdict in a sentence.
        body: Its sections.
    """

    name: str
    verdict: str
    worst: str
    sentence: str
    body: Markup


def render(manifest: Manifest) -> str:
    """Return one page that needs nothing else: no network, no other file.

    Args:
        manifest: The artifact's manifest.
    """
    from markupsafe import Markup

    script = text("copy.js")
    records = list(manifest.by_method.values())
    page = template("report.html.jinja").render(
        marks=MARKS,
        title=wording.headline(manifest),
        what=wording.what(manifest),
        verdict=verdict(manifest),
        sentence=sentence(manifest),
        worst=worst(manifest),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        cards=wording.cards(manifest),
        methods=[_method(record, has_weights=record is records[0]) for record in records],
        metadata=_pairs("", manifest.metadata.items()),
        versions=_pairs("", manifest.versions.items()),
    )
    return str(page)


def _method(manifest: Manifest, *, has_weights: bool) -> _MethodView:
    """Return the sections of one method; where the weights come from is the same for all, and told with the first."""
    from markupsafe import Markup

    graph = manifest.graph
    labels = () if manifest.contract is None else manifest.contract.labels
    whole = module_tree.tree(graph.modules)
    sizes, options = size_tables(manifest)
    body = template("method.html.jinja").render(
        marks=MARKS,
        size=size,
        title=wording.headline(manifest),
        about=_pairs("", [row for row in wording.model(manifest) if row[0] not in ("method", "opset")]),
        weights=_pairs("", wording.weights(manifest) if has_weights else []),
        signature=Table(
            "", ("name", "kind", "dtype", "shape"), [[v[1], v[0], *v[2:]] for v in wording.tensors(manifest)]
        ),
        conditions=manifest.signature.conditions,
        sizes=sizes,
        options=options,
        checks=[_check(check, labels) for check in manifest.checks],
        samples=_samples(manifest),
        images=manifest.samples.images,
        contract=Table("", (), wording.contract(manifest)),
        variants=Table("", wording.VARIANT_COLUMNS[:-1], [row[:-1] for row in wording.variants(manifest)]),
        variant_reasons=[(row[0], row[-1]) for row in wording.variants(manifest) if row[-1]],
        variant_bars=[(name, _bars(rows)) for name, rows in wording.variant_bars(manifest).items()],
        variant_metrics=Table("Metrics", wording.METRIC_COLUMNS, wording.variant_metrics(manifest)),
        snippet=snippet(manifest),
        nodes=graph.nodes,
        kinds=len(graph.operators),
        operator_rows=_bars((name, str(count), count) for name, count in graph.operators.items()),
        size_rows=_bars((name, size(own), own) for name, own in whole.sizes()),
        whole=whole,
        picture=_drawn("of the model", lambda: blocks_plot.draw(graph.blocks, manifest.signature)),
        own={name: own.operators for name, own in graph.modules.items()},
        notes=manifest.notes,
    )
    told = verdict(manifest), worst(manifest), sentence(manifest)
    return _MethodView(manifest.source.method, *told, Markup(body))  # the template has escaped it


def _pairs(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    return Table(title, (), [list(row) for row in rows])


def _bars(rows: Iterable[tuple[str, str, float]]) -> list[tuple[str, str, float]]:
    known = list(rows)
    most = max([1, *(number for _, _, number in known)])
    return [(name, text, number / most) for name, text, number in known]


@dataclasses.dataclass(frozen=True)
class _Plot:
    """A plot, or why there is none.

    Attributes:
        svg: The plot.
        problem: The class of the error, if it could not be drawn.
    """

    svg: Markup
    problem: str | None = None


def _drawn(what: str, draw: Callable[[], str | None]) -> _Plot | None:
    """Return a plot, None if there is nothing to draw; an export is not lost for one that fails."""
    from markupsafe import Markup

    try:
        svg = draw()
    except Exception as error:  # the message may hold a path of this machine
        log.warning("the plot %s is left out of the report", what, exc_info=True)
        return _Plot(Markup(), type(error).__name__)
    return None if svg is None else _Plot(Markup(svg))  # each plot escapes the names in it


@dataclasses.dataclass(frozen=True)
class _CheckView:
    """What the page shows of a check.

    Attributes:
        name: Name of the check.
        status: How it ended.
        reason: Why.
        plot: Its plot, None if there is none.
        undrawn: Number of outputs that the plot leaves out.
        tables: Its figures.
        cases: The figures that the plot shows, for those who cannot see it.
        matrix: The confusion matrix, None without one.
    """

    name: str
    status: Status
    reason: str | None
    plot: _Plot | None
    undrawn: int
    tables: list[Table]
    cases: Table | None
    matrix: answers_plot.Matrix | None


def _check(check: CheckRecord, labels: Sequence[str]) -> _CheckView:
    """Any check may have figures, and a plot if its outputs have ratios, or if it measured times."""
    found = ComparisonFigures.find(check.figures)
    outputs = {name: output for name, output in found.outputs.items() if output.worst_ratio}
    plot = None
    if outputs and found.ratio_edges:
        plot = _drawn(f"of check {check.name!r}", lambda: ratio_plot.draw(outputs, found.ratio_edges))
    elif check.name == "latency":
        plot = _drawn(f"of check {check.name!r}", lambda: latency_plot.draw(check.figures))
    own, other = (Answers.find(check.figures, name) for name in ("module", "file"))
    if other is not None and (residuals := other.residuals) is not None:
        plot = _drawn(f"of check {check.name!r}", lambda: answers_plot.draw(residuals))
    return _CheckView(
        check.name,
        check.status,
        check.reason,
        plot,
        max(len(outputs) - ratio_plot.MOST, 0),
        tables.tables({k: v for k, v in check.figures.items() if not (outputs and k in ("cases", "outcomes"))}),
        _cases(outputs, found.outcomes),
        answers_plot.matrix(own, other, labels) if own is not None and other is not None else None,
    )


def _samples(manifest: Manifest) -> list[Table]:
    """Return for each output the rows of the module and of the file below each other."""
    found = []
    for name, (module, file) in manifest.samples.outputs.items():
        rows = [
            [f"row {place + 1}, {who}", " ".join(tables.text(value) for value in row)]
            for place, pair in enumerate(zip(module, file, strict=False))
            for who, row in zip(("module", "file"), pair, strict=True)
        ]
        found.append(Table(name, (), rows))
    return found


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
