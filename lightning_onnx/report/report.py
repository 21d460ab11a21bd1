"""The report of an artifact, made only from its manifest: text, Markdown, HTML."""

from __future__ import annotations

import dataclasses
import functools
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_onnx.manifest.fields import Plain
from lightning_onnx.manifest.figures import ComparisonFigures, OutputFigures
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.results import CheckRecord
from lightning_onnx.printable import in_lines
from lightning_onnx.report import page, tables, wording
from lightning_onnx.report.shape_ranges import size_tables
from lightning_onnx.report.tables import Table
from lightning_onnx.report.verdict import sentence

HTML = "report.html"
MARKDOWN = "report.md"

_MOST_ROWS = 12
"""The most rows of a table in Markdown, which is the short form of the report."""

_COMPARED = ("output", "max abs diff", "max rel diff", "outside tolerance", "atol to pass", "top-1 agreement")


@dataclasses.dataclass(frozen=True)
class Report:
    """A readable account of an export.

    Attributes:
        manifest: The artifact's manifest, in plain values.

    Example:
        >>> print(artifact.report.text())  # doctest: +SKIP
    """

    manifest: Plain

    def __repr__(self) -> str:
        """Return the verdict on one line; ``text()`` has the rest."""
        return f"<Report of {wording.headline(self._record)}: {self.summary}>"

    @property
    def summary(self) -> str:
        """The verdict in one sentence: whether the file can be used, and what to know first."""
        return sentence(self._record)

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own."""
        return f'<iframe srcdoc="{html.escape(self.html())}" width="100%" height="480"></iframe>'

    def text(self) -> str:
        """Return the report as plain text."""
        parts = [self.summary]
        for table in self._tables():
            rows = [list(table.columns), *table.rows] if any(table.columns) else table.rows
            parts.append("\n".join([table.title, *(f"  {line}" for line in tables.aligned(rows))]))
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """Return the report as Markdown, for pull requests and for TensorBoard's text page."""
        parts = [
            f"# {_plain(wording.headline(self._record))}",
            f"**{_plain(self.summary)}**",
            "\n".join(f"- {_plain(line)}" for line in wording.essentials(self._record)),
        ]
        for table in self._tables():
            kept = table.rows[:_MOST_ROWS]
            lines = _table(table.columns, kept) if any(table.columns) else _list(kept)
            more = f"\n\n{len(table.rows) - len(kept)} more in {HTML}" if len(table.rows) > len(kept) else ""
            parts.append(f"## {_plain(table.title)}\n\n" + "\n".join(lines) + more)
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """Return the report as one page of HTML that needs nothing else."""
        return page.render(self._record)

    def write(self, directory: Path) -> None:
        """Write the report into an artifact that is being made.

        Args:
            directory: Where the files go.
        """
        (directory / HTML).write_text(self.html(), encoding="utf-8")
        (directory / MARKDOWN).write_text(self.markdown(), encoding="utf-8")

    @functools.cached_property
    def _record(self) -> Manifest:
        return Manifest.from_dict(in_lines(self.manifest))

    def _tables(self) -> list[Table]:
        """Return the tables; of several methods, those of each under its name, then what is the same for all."""
        m = self._record
        if not m.methods:
            return [*_tables_of(m), *_last_tables(m)]
        titled = [
            dataclasses.replace(table, title=f"{method}: {table.title}")
            for method, record in m.by_method.items()
            for table in _tables_of(record)
        ]
        return [*titled, *_last_tables(m)]


def _tables_of(m: Manifest) -> list[Table]:
    about = [
        *([name, value] for name, value in wording.model(m) if name != "traced with"),
        ["weights", wording.weights_line(m)],
        *([name, value] for name, value in wording.training(m)),
    ]
    figures = [(check, ComparisonFigures.find(check.figures)) for check in m.checks]
    always = [
        Table("ONNX export", (), about),
        Table("Inputs and outputs", ("", "name", "dtype", "shape"), wording.tensors(m)),
        *(table for table in size_tables(m) if table.rows),
        *([Table("What goes in and comes out", (), rows)] if (rows := wording.contract(m)) else []),
        Table("Checks", ("check", "status", "runtime", "reason"), wording.checks(m)),
        *(_compared(check.name, found) for check, found in figures if found.has_differences),
        *(_cases(check.name, found) for check, found in figures if found.outcomes),
        *(table for check in m.checks for table in _first_difference(check)),
        *(table for check, found in figures if not found.has_differences for table in _measured(check)),
    ]
    further = [
        Table("Variants", wording.VARIANT_COLUMNS, wording.variants(m)),
        Table("Variants: metrics", wording.METRIC_COLUMNS, wording.variant_metrics(m)),
        Table("Notes", ("",), [[note] for note in (*m.signature.conditions, *m.notes)]),
    ]
    return [*always, *(table for table in further if table.rows)]


def _last_tables(m: Manifest) -> list[Table]:
    found = [
        Table("Seconds of the export", (), [[name, f"{own:.1f}"] for name, own in m.seconds.items()]),
        Table("Versions", (), [list(pair) for pair in m.versions.items()]),
    ]
    return [table for table in found if table.rows]


def _compared(name: str, figures: ComparisonFigures) -> Table:
    rows = [[output, *_differences(own)] for output, own in figures.outputs.items()]
    return Table(f"{name} over {len(figures.cases)} cases", _COMPARED, rows)


def _cases(name: str, figures: ComparisonFigures) -> Table:
    """Return how each case ended, with what did not pass first."""
    order = {outcome: place for place, outcome in enumerate(wording.OUTCOMES)}
    rows = sorted(figures.outcomes.items(), key=lambda row: order.get(row[1], len(order)))
    return Table(f"{name}: cases", ("case", "outcome"), [list(row) for row in rows])


def _differences(own: OutputFigures) -> list[str]:
    """Return the cells after an output's name; empty if nothing was measured."""
    formats = (
        (own.max_abs_diff, ".2e"),
        (own.max_rel_diff, ".2e"),
        (own.outside, ".2%"),
        (own.needed_atol, ".2e"),
        (own.top1_agreement, ".2%"),
    )
    return ["" if value is None else format(value, spec) for value, spec in formats]


def _first_difference(check: CheckRecord) -> list[Table]:
    found = check.figures.get("first_difference")
    if not isinstance(found, Mapping) or not found:  # a check of a user may give this name to anything
        return []
    rows = [[tables.words(k), tables.text(v)] for k, v in found.items() if v is not None]
    return [Table(f"{check.name}: where they differ", (), rows)]


def _measured(check: CheckRecord) -> list[Table]:
    """Return the figures of a check that compares no outputs."""
    return [
        dataclasses.replace(table, title=": ".join(dict.fromkeys(filter(None, (check.name, table.title)))))
        for table in tables.tables(check.figures)
    ]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_row(columns), _row(["---"] * len(columns), escape=False), *map(_row, rows)]


def _list(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows without column titles as a list: a table with an empty header looks broken."""
    return [f"- {': '.join(map(_plain, row))}" for row in rows]


def _row(cells: Sequence[str], *, escape: bool = True) -> str:
    return "| " + " | ".join(_plain(cell) if escape else cell for cell in cells) + " |"


def _plain(text: str) -> str:
    """Keep what users wrote from being read as Markdown or HTML, or from mentioning people and issues."""
    for mark in "\\`*[]|~":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace("@", "&#64;").split())
