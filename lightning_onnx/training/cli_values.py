"""A wrong value on the command line of ``main.py export``, in one line: jsonargparse takes eight to say it."""

from __future__ import annotations

import re

_KEY = re.compile(r'Parser key "(?P<name>[^"]+)":\s')
_TYPES = re.compile(r"Subtypes: \[(?P<types>.*)\]$|Expected a (?P<one><class '[^']+'>)", re.MULTILINE)
_VALUE = re.compile(r"(?:Given value: |Got value: )(?P<value>.*)$", re.MULTILINE)
_WORDS = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "text"}


def in_one_line(message: str) -> str:
    r"""Return what jsonargparse says of a wrong value in one line; any other message as it is.

    Example:
        >>> in_one_line("Parser key \"static\":\n  Expected a <class 'bool'>. Got value: maybe")
        "--static maybe: the value has to be true or false, not 'maybe'."
    """
    key, types, value = _KEY.match(message), _TYPES.search(message), _VALUE.search(message)
    if key is None or types is None or value is None:
        return message
    name, given = key["name"], value["value"]
    found = re.sub(r"<class '([^']+)'>", r"\1", types["types"] or types["one"])
    kinds = [_WORDS.get(kind, kind) for kind in _parts(found) if kind != "NoneType"]
    advice = f" Give one such as --{name} '[{given}]'." if any(kind.startswith("list") for kind in kinds) else ""
    return f"--{name} {given}: the value has to be {' or '.join(kinds)}, not {given!r}.{advice}"


def _parts(types: str) -> list[str]:
    """Split at the commas that are not inside brackets."""
    parts, depth = [""], 0
    for character in types:
        depth += (character == "[") - (character == "]")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
