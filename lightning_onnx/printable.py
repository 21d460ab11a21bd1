"""Text without the characters by which a name could command a terminal, fake a line, or turn the order of letters."""

from __future__ import annotations

import re
from typing import Any

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tabs and ends of lines, characters that turn the direction of text, and surrogates."""


def printable(text: str) -> str:
    r"""Return text with each control character as its escape sequence; tabs and ends of lines stay.

    Example:
        >>> print(printable("Net\x1b[31m"))
        Net\x1b[31m
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    r"""Return printable text in which white space is a single space, so that no part looks like a line of its own.

    Example:
        >>> one_line("Net\n  parity  passed")
        'Net parity passed'
    """
    return printable(" ".join(text.split()) if any(space in text for space in "\t\r\n\v\f") else text)


def in_lines(values: Any) -> Any:
    """Return JSON whose texts, names too, are each in one line and printable.

    Args:
        values: Text, numbers, booleans, None, and lists and objects of these.
    """
    if isinstance(values, str):
        return one_line(values)
    if isinstance(values, dict):
        return {in_lines(key): in_lines(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [in_lines(value) for value in values]
    return values
