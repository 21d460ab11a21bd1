"""Which module a node of an ONNX graph comes from, read from what torch's exporters write into the node."""

from __future__ import annotations

import ast
import contextlib
import itertools
import re
from collections.abc import Sequence

from onnx import NodeProto

Path = tuple[str, ...]
"""Names of modules, outermost first."""

_SCOPES = "pkg.torch.onnx.name_scopes"
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_TEXT = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
_LIST_OF_TEXT = re.compile(rf"\[(?:(?:{_TEXT})(?:, (?:{_TEXT}))*)?\]")
"""What torch writes; Python's own parser gets nothing else, because deep expressions can end the process."""

_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"
"""What torch writes for a node that comes from no module."""


def path_of(node: NodeProto) -> Path:
    """Return the module that a node comes from, followed by a name for the node.

    The newer exporter writes it into the node's metadata, the older one into the node's name.

    Example:
        >>> path_of(NodeProto(name="/layer1/layer1.0/conv/Conv", op_type="Conv"))
        ('layer1', '0', 'conv', 'Conv')
    """
    scopes = _entry(node, _SCOPES)
    if scopes is not None:
        # The qualified names of all modules around the node, outermost first, then a name of the call.
        modules = [scope for scope in scopes[:-1] if scope != _NO_MODULE]
        return (*modules[-1].split("."), node.op_type) if modules and modules[-1] else (node.op_type,)
    parts = [part for part in node.name.split("/") if part] or [node.op_type]
    # "/layer1/layer1.0/conv/Conv": the children of a Sequential repeat its name.
    return (parts[0], *(part.removeprefix(f"{parent}.") for parent, part in itertools.pairwise(parts)))


def classes_of(node: NodeProto) -> dict[str, str]:
    """Return the class of each module around a node, by the module's qualified name; empty if unknown."""
    scopes, classes = _entry(node, _SCOPES), _entry(node, _CLASSES)
    if scopes is None or classes is None or len(scopes) != len(classes):
        return {}
    pairs = zip(scopes[:-1], classes[:-1], strict=True)
    return {scope: name.rpartition(".")[2] for scope, name in pairs if scope != _NO_MODULE}


def source_of(node: NodeProto) -> str | None:
    """Return the torch operator that a node was made from, as the newer exporter writes it; None if unknown.

    Example:
        >>> source_of(NodeProto(op_type="Relu")) is None
        True
    """
    classes = _entry(node, _CLASSES)
    return classes[-1] if classes else None


def _entry(node: NodeProto, key: str) -> Sequence[str] | None:
    for entry in node.metadata_props:
        if entry.key == key and _LIST_OF_TEXT.fullmatch(entry.value):
            with contextlib.suppress(SyntaxError, ValueError):  # an escape such as \x without digits
                found: Sequence[str] = ast.literal_eval(entry.value)
                return found
    return None
