"""What a file tells of the machine and of the people that made it: stack traces, absolute paths, names."""

from __future__ import annotations

import getpass
import platform
import re
from collections.abc import Iterator

from onnx import GraphProto, ModelProto, NodeProto

from lightning_onnx.onnxfile.walk import Proto, walk

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


def find_private_data(model: ModelProto) -> list[dict[str, str]]:
    """Return what is private in a model.

    Args:
        model: With or without its weights.

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


def _texts(model: ModelProto) -> Iterator[tuple[str, str, bool]]:
    """Yield each text with its place, and whether it is prose; the name of a layer may happen to be anyone's name."""
    yield "the model", model.doc_string, True
    yield "the producer", f"{model.producer_name} {model.producer_version} {model.domain}", True
    yield from _properties("the model's metadata", model)
    for part in walk(model):
        yield part.place, part.proto.doc_string, True
        yield part.place, part.proto.name, False
        graph = isinstance(part.proto, GraphProto)
        yield from _properties(f"{part.place}'s metadata" if graph else part.place, part.proto)
        if isinstance(part.proto, NodeProto):
            for attribute in part.proto.attribute:
                for text in (attribute.s, *attribute.strings):
                    yield f"{part.place}, {attribute.name}", text.decode("utf-8", "replace"), True


def _properties(where: str, owner: ModelProto | Proto) -> Iterator[tuple[str, str, bool]]:
    for entry in getattr(owner, "metadata_props", ()):
        yield f"{where}, {entry.key}", entry.value, True
