"""Which module a node of an ONNX graph comes from, as torch's exporters write it down."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Sequence

from onnx import NodeProto

Path = tuple[str, ...]
"""Names of modules, outermost first."""

_SCOPES = "pkg.torch.onnx.name_scopes"
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"
"""What torch writes as the module of a node that comes from none."""


def path_of(node: NodeProto) -> Path:
    """Return the module that a node comes from, and a name for the node behind it.

    The newer exporter writes metadata; the older one forms the nodes' names that way.

    Example:
        >>> path_of(NodeProto(name="/layer1/layer1.0/conv/Conv", op_type="Conv"))
        ('layer1', '0', 'conv', 'Conv')
    """
    scopes = _entry(node, _SCOPES)
    if scopes is not None:
        # Qualified names of all modules around the node, then a name of the call in the innermost.
        modules = [scope for scope in scopes[:-1] if scope != _NO_MODULE]
        return (*modules[-1].split("."), node.op_type) if modules and modules[-1] else (node.op_type,)
    parts = [part for part in node.name.split("/") if part] or [node.op_type]
    # "/layer1/layer1.0/conv/Conv": children of a Sequential repeat its name.
    return (parts[0], *(part.removeprefix(f"{parent}.") for parent, part in itertools.pairwise(parts)))


def classes_of(node: NodeProto) -> dict[str, str]:
    """Return the classes of all modules around a node by the modules' qualified names; empty where unknown."""
    scopes, classes = _entry(node, _SCOPES), _entry(node, _CLASSES)
    if scopes is None or classes is None or len(scopes) != len(classes):
        return {}
    pairs = zip(scopes[:-1], classes[:-1], strict=True)
    return {scope: name.rpartition(".")[2] for scope, name in pairs if scope != _NO_MODULE}


def source_of(node: NodeProto) -> str | None:
    """Return torch's operator of which a node was made, as the newer exporter writes it; None where unknown.

    Example:
        >>> source_of(NodeProto(op_type="Relu")) is None
        True
    """
    classes = _entry(node, _CLASSES)
    return classes[-1] if classes else None


def _entry(node: NodeProto, key: str) -> Sequence[str] | None:
    for entry in node.metadata_props:
        if entry.key == key:
            found: Sequence[str] = ast.literal_eval(entry.value)
            return found
    return None
