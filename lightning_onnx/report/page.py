"""The report as a page of HTML: what a manifest says, put into ``report.html.jinja``."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from lightning_onnx.report import module_tree, plots, tables, wording
from lightning_onnx.report.snippet import snippet
from lightning_onnx.report.tables import Table, size

log = logging.getLogger(__name__)

MARKS = {"passed": "✓", "failed": "✗", "skipped": "–", "not checked": "–"}


def render(manifest: Mapping[str, Any]) -> str:
    """Return one page that needs nothing else: no network, no other file, no script.

    Args:
        manifest: The artifact's manifest.
    """
    graph = manifest.get("graph") or {"nodes": 0, "operators": {}, "modules": {}}
    whole = module_tree.tree(graph["modules"])
    operators = graph["operators"]
    page = _template().render(
        marks=MARKS,
        size=size,
        title=manifest.get("name") or manifest["model"]["file"],
        what=wording.what(manifest),
        verdict=wording.verdict(manifest),
        cards=wording.cards(manifest),
        about=_pairs("", [row for row in wording.model(manifest) if row[0] not in ("method", "opset")]),
        weights=_pairs("", wording.weights(manifest)),
        signature=Table("", ("name", "", "dtype", "shape"), [[v[1], v[0], *v[2:]] for v in wording.tensors(manifest)]),
        relations=manifest["relations"],
        checks=[_check(check) for check in manifest["checks"]],
        variants=Table("", wording.VARIANT_COLUMNS[:-1], [row[:-1] for row in wording.variants(manifest)]),
        variant_reasons=[(row[0], row[-1]) for row in wording.variants(manifest) if row[-1]],
        variant_metrics=Table("Metrics", wording.METRIC_COLUMNS, wording.variant_metrics(manifest)),
        snippet=snippet(manifest),
        nodes=graph["nodes"],
        kinds=len(operators),
        operator_rows=_bars((name, str(count), count) for name, count in operators.items()),
        size_rows=_bars((m.name, size(m.bytes), m.bytes) for m in whole.largest()),
        whole=whole,
        own={name: own["operators"] for name, own in graph["modules"].items()},
        notes=manifest["notes"],
        metadata=_pairs("", (manifest.get("metadata") or {}).items()),
        versions=_pairs("", manifest["versions"].items()),
    )
    return str(page)


@functools.cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(
        resources.files("lightning_onnx.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )


def _pairs(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    return Table(title, (), [list(row) for row in rows])


def _bars(rows: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, float]]:
    known = list(rows)
    most = max((number for _, _, number in known), default=1)
    return [(name, text, number / most) for name, text, number in known]


def _check(check: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of a check; any check may have figures, and a plot where its outputs have ratios."""
    from markupsafe import Markup

    found = check["figures"]
    outputs = {k: v for k, v in (found.get("outputs") or {}).items() if isinstance(v, Mapping) and v.get("worst_ratio")}
    drawn, problem = None, None
    if outputs and "ratio_edges" in found:
        try:
            drawn = Markup(plots.ratios(outputs, found["ratio_edges"]) or "")  # it escapes the names in it
        except Exception as error:  # an export is not lost for a plot; the message may hold a path of this machine
            log.warning("the plot of check %r is left out of the report", check["name"], exc_info=True)
            problem = type(error).__name__
    return {
        **check,
        "plot": drawn,
        "problem": problem,
        "undrawn": max(len(outputs) - plots.MOST, 0),
        "tables": tables.tables({k: v for k, v in found.items() if not (outputs and k == "cases")}),
        "cases": _cases(outputs),
    }


def _cases(outputs: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """The figures that the plot shows, for who cannot see it."""
    labels = dict.fromkeys(label for o in outputs.values() for label in o["worst_ratio"])
    rows = [[label, *(tables.text(o["worst_ratio"].get(label)) for o in outputs.values())] for label in labels]
    return Table("", ("", *outputs), rows) if rows else None
