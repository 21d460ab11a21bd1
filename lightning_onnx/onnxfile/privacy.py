"""What a file reveals of the machine and the people that made it: stack traces, absolute paths, names."""

from __future__ import annotations

import dataclasses
import getpass
import platform
import re
from collections.abc import Iterator

from onnx import GraphProto, ModelProto, NodeProto

from lightning_onnx.onnxfile.walk import Proto, walk

_TRACE = re.compile(r'File "[^"\n]+", line \d+|Traceback \(most recent call last\)|\.py\(\d+\)|\.py:\d+')
_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|Users|root|tmp|var|mnt|opt|usr|data|work|scratch|workspace|private)/[^\s\"':;,]+"
    r"|\b[A-Za-z]:\\[^\s\"':;,]+|file://[^\s\"']+"
)
_ANY_PATH = re.compile(r"(?<![\w.:/<])/(?:[^\s\"':;,/]+/)+[^\s\"':;,/]*|\b[A-Za-z]:\\[^\s\"':;,]+|file://[^\s\"']+")
"""In messages, which are not names of layers, anything with two parts counts: disks are mounted under any name."""

_STAGE = re.compile(r"\.onnx-staging-[^\s\"':;,/]*/?")
"""The directory in which an artifact is staged; its name contains the host's."""

_MOST = 20
"""Findings that are returned."""

_SHORTEST_NAME = 4
"""Names of users and hosts with fewer letters, such as "ai" or "pc", are words in many texts."""

_COMMON = {"root", "user", "admin", "ubuntu", "localhost", "runner", "docker"}
"""Names that identify nobody, and are words in many texts."""


@dataclasses.dataclass(frozen=True)
class PrivateText:
    """Something private in a model.

    Attributes:
        kind: ``"stack trace"``, ``"absolute path"`` or ``"name of the user or host"``.
        where: Its place in the model, such as ``"node Gemm_1"``.
        found: The text, cut to 80 characters.
    """

    kind: str
    where: str
    found: str


def find_private_data(model: ModelProto) -> list[PrivateText]:
    """Return what is private in a model, at most 20 findings, each text once.

    Args:
        model: With or without its weights.
    """
    findings: dict[tuple[str, str], PrivateText] = {}
    for where, text, prose in _texts(model):
        for kind, found in _private(text, prose):
            findings.setdefault((kind, found), PrivateText(kind, where, found[:80]))
    return list(findings.values())[:_MOST]


def private_in(text: str) -> list[str]:
    """Return what is private in one text: stack traces, absolute paths, names of the user or host."""
    return [found for _, found in _private(text, prose=True)]


def without_paths(text: str) -> str:
    """Return a message in which each absolute path is replaced by its last part.

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
    """The user and host that read the file; those that made it are not known, but often they are the same."""
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
