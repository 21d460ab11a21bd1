"""Tables of whatever figures a check has: a new check needs no line here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DRAWN = ("ratios", "worst_ratio", "ratio_edges")
"""What the plot shows."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table for people.

    Attributes:
        title: What its rows are; may be empty.
        columns: Heads; empty for a table of names and values.
        rows: Text, a cell each.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Return a check's figures as tables: single values first, then each list or mapping of records.

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


def _records(value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping) and all(isinstance(v, Mapping) for v in value.values()):
        yield from value.items()
    elif isinstance(value, list) and all(isinstance(v, Mapping) for v in value):
        yield from ((str(i), v) for i, v in enumerate(value))


def _table(title: str, records: Mapping[str, Mapping[str, Any]]) -> Table:
    keys = [k for k in dict.fromkeys(k for record in records.values() for k in record) if k not in _DRAWN]
    rows = [[name, *(text(record.get(key), key) for key in keys)] for name, record in records.items()]
    return Table(title, ("", *map(words, keys)), rows)


def words(key: str) -> str:
    """Return a key as words."""
    return key.replace("_", " ")


def text(value: Any, key: str = "") -> str:
    """Return a value for people; shares in per cent, other floats with four digits or whole.

    Example:
        >>> text(0.000123456), text(12345.6), text(0.5, "outside")
        ('0.0001235', '12,346', '50.00%')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if 1e4 <= abs(value) < 1e15:
            return f"{value:,.0f}"
        return f"{value:.4g}" if key not in ("outside", "top1_agreement") else f"{value:.2%}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {text(v, k)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ("\n" if value and isinstance(value[0], str) else ", ").join(text(v, key) for v in value)
    return str(value)


def size(number: int) -> str:
    """Write a number of bytes for people."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= scale:
            return f"{number / scale:.{1 if unit == 'KiB' else 2}f} {unit}"
    return f"{number} bytes"
