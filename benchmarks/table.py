"""The table of what was measured, as text and as Markdown, with the machine's description."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.rows import Cell, Row

SLACK = 1.3
"""A number may be so many times its goal: noise stops nobody."""

BEGIN, END = "<!-- table of benchmarks -->", "<!-- end of table -->"


@dataclasses.dataclass(frozen=True)
class Result:
    """What was measured for a row.

    Attributes:
        row: The row.
        before: The numbers of the other checkout by name, or why there are none; None if none was asked for.
        after: The same of this checkout.
    """

    row: Row
    before: dict[str, float] | str | None
    after: dict[str, float] | str

    @property
    def missed(self) -> list[str]:
        """The numbers beyond their goal and the slack, and a row that could not be measured."""
        if isinstance(self.after, str):
            return [f"{self.row.name}: {self.after}"]
        found = ((cell, self.after.get(cell.name)) for cell in self.row.cells if cell.goal is not None)
        return [
            f"{self.row.name}, {cell.name}: {value}"
            for cell, value in found
            if cell.goal is not None and (value is None or value > cell.goal * SLACK)
        ]


def as_text(result: Result) -> str:
    """Return a few lines for the terminal."""
    lines = [f"{result.row.name}: {result.row.what}"]
    for cell in result.row.cells:
        before, after, goal = _columns(result, cell)
        lines.append(f"  {cell.name:42}{before:>14}{after:>14}{goal:>10}")
    return "\n".join([*lines, *(f"  {side}" for side in (result.before, result.after) if isinstance(side, str))])


def write(path: Path, results: Sequence[Result]) -> None:
    """Put the table between the marks of a Markdown file; rows that were not measured keep what is there.

    Args:
        path: The file.
        results: What was measured.
    """
    text = path.read_text(encoding="utf-8")
    start, end = text.index(BEGIN), text.index(END)
    kept = {_key(line): line for line in text[start:end].splitlines() if line.startswith("| ")}
    for result in results:
        for line in _as_markdown(result):
            kept[_key(line)] = line
    head = ["| what | | before | after | goal |", "|---|---|---|---|---|"]
    rows = [line for key, line in kept.items() if key != ("what", "")]
    body = "\n".join([BEGIN, machine(), "", *head, *rows, END])
    path.write_text(text[:start] + body + text[end + len(END) :], encoding="utf-8")


def machine() -> str:
    """Return a sentence on the machine and the versions."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        processor = found[1] if found else processor
    versions = (f"{name} {importlib.metadata.version(name)}" for name in ("torch", "lightning", "onnx", "onnxruntime"))
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"Measured on {os.cpu_count()} cores ({processor}), one thread, with Python {platform.python_version()}, "
        f"{', '.join(versions)}; average load at the end: {load}."
    )


def _as_markdown(result: Result) -> Iterator[str]:
    for cell in result.row.cells:
        yield f"| {result.row.what} | {cell.name} | {' | '.join(_columns(result, cell))} |"


def _columns(result: Result, cell: Cell) -> tuple[str, str, str]:
    goal = "" if cell.goal is None else f"≤ {cell.goal:g}"
    return _shown(result.before, cell), _shown(result.after, cell), goal


def _shown(numbers: dict[str, float] | str | None, cell: Cell) -> str:
    if numbers is None:
        return ""
    value = None if isinstance(numbers, str) else numbers.get(cell.name)
    return "not measured" if value is None else f"{value:.3g}"


def _key(line: str) -> tuple[str, str]:
    what, name = (part.strip() for part in line.split("|")[1:3])
    return what, name
