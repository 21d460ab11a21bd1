"""What a model consists of: its operators by count, its modules with their operators and bytes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from lightning_onnx.errors import InputError
from lightning_onnx.onnxfile.blocks import blocks
from lightning_onnx.onnxfile.graph_summary import GraphSummary, ModuleSummary
from lightning_onnx.onnxfile.scopes import classes_of, path_of
from lightning_onnx.onnxfile.walk import walk

_TOO_LARGE = 2**63
"""Elements that no file can hold."""

_MOST_DIGITS = 18
"""Digits that may be the number of a layer."""


def outline(model: onnx.ModelProto) -> GraphSummary:
    """Return what a model consists of.

    Args:
        model: The model; external weights need not be loaded.
    """
    counts: Counter[str] = Counter()
    operators: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sizes: Counter[str] = Counter()
    classes: dict[str, str] = {}
    for node, name in _nodes(model.graph):
        counts[_operator(node)] += 1
        operators[name][_operator(node)] += 1
        sizes[name] += sum(_bytes(a.t) for a in node.attribute if a.type == AttributeProto.TENSOR)
        classes |= classes_of(node)
    for name, size in _weights(model.graph):
        sizes[name] += size
    modules = {
        name: ModuleSummary(classes.get(name), sizes[name], dict(operators[name]))
        for name in sorted({*sizes, *classes}, key=_natural)
    }
    return GraphSummary(counts.total(), dict(counts.most_common()), modules, blocks(model, classes))


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
    elements = 1
    for dim in tensor.dims:
        elements *= dim
        if abs(elements) >= _TOO_LARGE:
            raise InputError(f"the weight {tensor.name!r} is too large for any file. Export the model again.")
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError as error:
        raise InputError(
            f"the weight {tensor.name!r} has type {tensor.data_type}, which ONNX does not define. Export again."
        ) from error
    return -(-elements * _bits(kind) // 8)


def _bits(kind: np.dtype[Any]) -> int:
    """Return the size of an element in the file, which may be less than that in an array."""
    if kind.isbuiltin == 1:
        return 8 * kind.itemsize
    try:
        return int(ml_dtypes.iinfo(kind).bits)  # type: ignore[no-untyped-call]
    except ValueError:  # it is not an integer
        parts = ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]
        return min(8 * kind.itemsize, 1 + int(parts.nexp) + int(parts.nmant))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort layers by number, not by digits."""
    return [
        (int(part), "") if part.isdecimal() and len(part) <= _MOST_DIGITS else (-1, part) for part in name.split(".")
    ]
