"""What a model consists of: its operators by count, its modules with their operators and bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from lightning_onnx.onnxfile.scopes import classes_of, path_of
from lightning_onnx.onnxfile.walk import walk


def outline(model: onnx.ModelProto) -> dict[str, Any]:
    """Describe a model in plain values, for the manifest.

    Args:
        model: The model; external weights need not be loaded.

    Returns:
        ``nodes`` (how many); ``operators`` (operator → number of nodes, most frequent first; bodies of loops included);
        ``modules`` (qualified name → ``class``, ``bytes`` of its own weights, ``operators`` of its own).
    """
    modules: dict[str, dict[str, Any]] = {}
    operators: Counter[str] = Counter()
    classes: dict[str, str] = {}
    for node, name in _nodes(model.graph):
        own = modules.setdefault(name, _empty())
        own["operators"][_operator(node)] = own["operators"].get(_operator(node), 0) + 1
        own["bytes"] += sum(_bytes(a.t) for a in node.attribute if a.type == AttributeProto.TENSOR)
        operators[_operator(node)] += 1
        classes |= classes_of(node)
    for name, size in _weights(model.graph):
        modules.setdefault(name, _empty())["bytes"] += size
    for name, found in classes.items():
        modules.setdefault(name, _empty())["class"] = found
    return {
        "nodes": operators.total(),
        "operators": dict(operators.most_common()),
        "modules": {name: modules[name] for name in sorted(modules, key=_natural)},
    }


def _empty() -> dict[str, Any]:
    return {"class": None, "bytes": 0, "operators": {}}


def _operator(node: NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


def _nodes(graph: GraphProto) -> Iterator[tuple[NodeProto, str]]:
    """Yield all nodes with their module's qualified name: their own, or that of the innermost node around them."""
    for part in walk(graph):
        if isinstance(part.proto, NodeProto):
            names = (".".join(path_of(node)[:-1]) for node in (part.proto, *reversed(part.around)))
            yield part.proto, next(filter(None, names), "")


def _weights(graph: GraphProto) -> Iterator[tuple[str, int]]:
    """Bytes of each initializer with its module: the one that its name tells, else that of its first user."""
    users: dict[str, str] = {}
    for node, module in _nodes(graph):
        for name in node.input:
            users.setdefault(name, module)
    for tensor in graph.initializer:
        named = "" if "::" in tensor.name else tensor.name.rpartition(".")[0]
        yield named or users.get(tensor.name, ""), _bytes(tensor)


def _bytes(tensor: TensorProto) -> int:
    if tensor.data_type == TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    import onnx_ir

    elements = 1
    for dim in tensor.dims:
        elements *= dim
    return -(-elements * int(onnx_ir.DataType(tensor.data_type).bitwidth) // 8)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort layers by number, not by digits."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]
