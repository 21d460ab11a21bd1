"""What a file tells of the machine and of the people that made it: stack traces, absolute paths, names."""

from __future__ import annotations

import getpass
import platform
import re
from collections.abc import Iterator
from typing import Any

_TRACE = re.compile(r'File ".+", line \d+|Traceback \(most recent call last\)|\.py\(\d+\)|\.py:\d+')
_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|Users|root|tmp|var|mnt|opt|usr|data|work|scratch|workspace|private)/[^\s\"':;,]+"
    r"|\b[A-Za-z]:\\[^\s\"':;,]+|file://[^\s\"']+"
)
_ANY_PATH = re.compile(r"(?<![\w.:/<])/(?:[^\s\"':;,/]+/)+[^\s\"':;,/]*|\b[A-Za-z]:\\[^\s\"':;,]+|file://[^\s\"']+")
"""In a message any of two parts is one: it may lie on a disk that no list has."""

_STAGE = re.compile(r"\.onnx-staging-[^\s\"':;,/]*/?")
"""Where an artifact is made; the name has the host's."""

_MOST = 20
_SHORTEST_NAME = 4
"""Letters of a user's or host's name that is looked for; "ai" or "pc" would be found in other words."""

_COMMON = {"root", "user", "admin", "ubuntu", "localhost", "runner", "docker"}
"""Names that are nobody's, and words in other texts."""


def find_private_data(model: Any) -> list[dict[str, str]]:
    """Return what is private in a model.

    Args:
        model: An ``onnx.ModelProto``, with or without its weights.

    Returns:
        Findings, at most 20: ``kind`` (``"stack trace"``, ``"absolute path"``, ``"name of the user or host"``),
        ``where`` it stands, and what was ``found``, cut to 80 letters.
    """
    findings: dict[tuple[str, str], dict[str, str]] = {}
    for where, text, prose in _texts(model):
        for kind, found in _private(text, prose):
            findings.setdefault((kind, found), {"kind": kind, "where": where, "found": found[:80]})
    return list(findings.values())[:_MOST]


def without_paths(text: str) -> str:
    """Return a message with the last part of each absolute path in its place.

    Example:
        >>> without_paths("cannot read /tmp/tmp1a2b/model.onnx: it is empty")
        'cannot read model.onnx: it is empty'
        >>> without_paths("no /nfs/someone/a.txt; val/acc of https://example.org/a/b")
        'no a.txt; val/acc of https://example.org/a/b'
    """
    return _ANY_PATH.sub(lambda found: re.split(r"[\\/]", found[0].rstrip("/\\"))[-1], _STAGE.sub("", text))


def _private(text: str, prose: bool) -> Iterator[tuple[str, str]]:
    if trace := _TRACE.search(text):
        yield "stack trace", trace[0]
    if path := _PATH.search(text):
        yield "absolute path", path[0]
    for name in _names() if prose else ():
        if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE):
            yield "name of the user or host", name


def _names() -> list[str]:
    """The names of who looks; those of who made the file are not known."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without users
        user = ""
    return [n for n in (user, platform.node()) if len(n) >= _SHORTEST_NAME and n.lower() not in _COMMON]


def _texts(model: Any) -> Iterator[tuple[str, str, bool]]:
    """Yield where a text stands, the text, and whether it is prose; a name of a layer may be anybody's."""
    yield "the model", model.doc_string, True
    yield "the producer", f"{model.producer_name} {model.producer_version} {model.domain}", True
    yield from _properties("the model's metadata", model)
    yield from _graph("the graph", model.graph)
    for function in model.functions:
        yield f"function {function.name}", function.doc_string, True
        for node in function.node:
            yield from _node(node)


def _graph(where: str, graph: Any) -> Iterator[tuple[str, str, bool]]:
    yield where, graph.doc_string, True
    yield where, graph.name, False
    yield from _properties(f"{where}'s metadata", graph)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield f"value {value.name}", value.doc_string, True
        yield f"value {value.name}", value.name, False
        yield from _properties(f"value {value.name}", value)
    for node in graph.node:
        yield from _node(node)


def _node(node: Any) -> Iterator[tuple[str, str, bool]]:
    where = f"node {node.name or node.op_type}"
    yield where, node.doc_string, True
    yield where, node.name, False
    yield from _properties(where, node)
    for attribute in node.attribute:
        for text in (attribute.s, *attribute.strings):
            yield f"{where}, {attribute.name}", text.decode("utf-8", "replace"), True
        for inner in (attribute.g, *attribute.graphs):
            if inner.node:
                yield from _graph(f"{where}, {attribute.name}", inner)


def _properties(where: str, owner: Any) -> Iterator[tuple[str, str, bool]]:
    for entry in getattr(owner, "metadata_props", ()):
        yield f"{where}, {entry.key}", entry.value, True
