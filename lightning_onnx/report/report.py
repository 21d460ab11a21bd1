"""What there is to say about an artifact, made from its manifest alone: text, Markdown, HTML."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_onnx.report import page, tables, wording

HTML = "report.html"
MARKDOWN = "report.md"

_MOST_ROWS = 12
"""Outputs with figures in Markdown, which is for a glance."""

_Section = tuple[str, list[str], list[list[str]]]


@dataclasses.dataclass(frozen=True)
class Report:
    """A readable account of an export.

    Attributes:
        manifest: The artifact's manifest.

    Example:
        >>> print(artifact.report.text())  # doctest: +SKIP
    """

    manifest: dict[str, Any]

    def text(self) -> str:
        """Return the report as plain text."""
        parts = []
        for title, columns, rows in self._sections():
            table = [columns, *rows] if any(columns) else rows
            widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
            lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
            parts.append("\n".join([title, *(f"  {line}" for line in lines)]))
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """Return the report as Markdown, for pull requests and for TensorBoard's text page."""
        parts = [f"**{self._verdict()}**"]
        for title, columns, rows in self._sections():
            kept = rows if len(rows) <= _MOST_ROWS else rows[:_MOST_ROWS]
            lines = [_row(columns), _row(["---"] * len(columns), escape=False), *(_row(row) for row in kept)]
            more = f"\n\n{len(rows) - len(kept)} more in {HTML}" if len(rows) > len(kept) else ""
            parts.append(f"### {_plain(title)}\n\n" + "\n".join(lines) + more)
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """Return the report as one page of HTML that needs nothing else."""
        return page.render(self.manifest)

    def write(self, directory: Path) -> None:
        """Write the report into an artifact that is being made.

        Args:
            directory: Where the files go.
        """
        (directory / HTML).write_text(self.html(), encoding="utf-8")
        (directory / MARKDOWN).write_text(self.markdown(), encoding="utf-8")

    def _verdict(self) -> str:
        return wording.verdict(self.manifest)

    def _sections(self) -> list[_Section]:
        """Return titled tables: title, column names, rows."""
        m = self.manifest
        source = m["source"]
        about = [
            *([name, value] for name, value in wording.model(m) if name != "traced with"),
            ["weights", wording.weights_line(m)],
            ["trained", f"precision {source['precision']} on {source['device']}; exported and checked on CPU"],
        ]
        sections = [
            ("ONNX export", ["", ""], about),
            ("Inputs and outputs", ["", "name", "dtype", "shape"], wording.tensors(m)),
            ("Checks", ["check", "status", "runtime", "reason"], wording.checks(m)),
            *(_compared(check) for check in m["checks"] if check["figures"].get("outputs")),
            *(_parted(check) for check in m["checks"] if check["figures"].get("first_difference")),
            *(s for check in m["checks"] if not check["figures"].get("outputs") for s in _measured(check)),
        ]
        if m.get("variants"):
            sections.append(("Variants", list(wording.VARIANT_COLUMNS), wording.variants(m)))
        if metrics := wording.variant_metrics(m):
            sections.append(("Variants: metrics", list(wording.METRIC_COLUMNS), metrics))
        notes = [[note] for note in (*m["relations"], *m["notes"])]
        versions = [[name, version] for name, version in m["versions"].items()]
        return [*sections, *([("Notes", [""], notes)] if notes else []), ("Versions", ["", ""], versions)]


def _compared(check: dict[str, Any]) -> _Section:
    columns = ["output", "max abs diff", "max rel diff", "outside tolerance", "needed atol", "top-1 agreement"]
    rows = [
        [
            name,
            f"{o['max_abs_diff']:.2e}",
            f"{o['max_rel_diff']:.2e}",
            f"{o['outside']:.2%}",
            f"{o['needed_atol']:.2e}",
            "" if o["top1_agreement"] is None else f"{o['top1_agreement']:.2%}",
        ]
        for name, o in check["figures"]["outputs"].items()
    ]
    return f"{check['name']} over {len(check['figures']['cases'])} cases", columns, rows


def _parted(check: dict[str, Any]) -> _Section:
    found = check["figures"]["first_difference"]
    rows = [[tables.words(k), tables.text(v)] for k, v in found.items() if v is not None]
    return f"{check['name']}: where they part", ["", ""], rows


def _measured(check: dict[str, Any]) -> list[_Section]:
    """The figures of a check that compares no outputs."""
    return [
        (f"{check['name']}: {t.title}" if t.title else check["name"], list(t.columns or ("", "")), t.rows)
        for t in tables.tables(check["figures"])
    ]


def _row(cells: Sequence[str], *, escape: bool = True) -> str:
    return "| " + " | ".join(_plain(cell) if escape else cell for cell in cells) + " |"


def _plain(text: str) -> str:
    """Keep what users wrote from being read as Markdown or HTML, or from naming people and issues."""
    for mark in "\\`*[]|~":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace("@", "&#64;").split())
