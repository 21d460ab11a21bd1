"""Tables of text, and of whatever figures a check has: a new check needs no change here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DRAWN = ("ratios", "worst_ratio", "ratio_edges", "answers")
"""What the plot shows."""

_TITLES = {"needed_atol": "atol to pass", "memory_mib": "memory (MiB)"}
"""Keys whose own words would have to be read twice."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A human-readable table.

    Attributes:
        title: What its rows are; may be empty.
        columns: Column titles; empty for a table of names and values.
        rows: The text of each cell.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines of plain text, with columns padded to their widest cell.

    Example:
        >>> aligned([["name", "size"], ["a", "1"]])
        ['name  size', 'a     1']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Return a check's figures as tables: first single values, then each list or mapping of objects.

    Example:
        >>> tables({"seconds": 0.25, "sizes": {"1": {"p50": 1.5}, "8": {"p50": 4.0}}})[1].rows
        [['1', '1.5'], ['8', '4']]
    """
    single, several = [], []
    for key, value in figures.items():
        if key in _DRAWN or value in (None, [], {}):
            continue
        records = dict(_records(value))
        if records:
            several.append(_table(words(key), records))
        else:
            single.append([words(key), text(value)])
    return ([Table("", (), single)] if single else []) + several


def _records(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping) and all(isinstance(v, Mapping) for v in value.values()):
        yield from value.items()
    elif isinstance(value, list) and all(isinstance(v, Mapping) for v in value):
        yield from ((str(i), v) for i, v in enumerate(value))


def _table(title: str, records: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return records as rows; a column that says nothing in any row is left out."""
    found = dict.fromkeys(k for record in records.values() for k in record if record[k] is not None)
    order = dict.fromkeys(k for record in records.values() for k in record)
    keys = [key for key in order if key in found and key not in _DRAWN]
    rows = [[name, *(text(record.get(key), key) for key in keys)] for name, record in records.items()]
    return Table(title, ("", *map(words, keys)), rows)


def words(key: str) -> str:
    """Return a key of figures as words."""
    return _TITLES.get(key, key.replace("_", " "))


def text(value: object, key: str = "") -> str:
    """Return a value as readable text: shares in per cent, other floats with four digits or as integers.

    Example:
        >>> text(0.000123456), text(12345.6), text(0.5, "outside"), text(-0.0)
        ('0.0001235', '12,346', '50.00%', '0')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if 1e4 <= abs(value) < 1e15:
            return f"{value:,.0f}"
        value = value or 0.0  # no "-0"
        return f"{value:.4g}" if key not in ("outside", "top1_agreement") else f"{value:.2%}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {text(v, k)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ("\n" if value and isinstance(value[0], str) else ", ").join(text(v, key) for v in value)
    return str(value)


def size(number: float) -> str:
    """Return a number of bytes as readable text."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= scale:
            return f"{number / scale:.{1 if unit == 'KiB' else 2}f} {unit}"
    return f"{number:.0f} bytes"
