"""Operators that onnxruntime computes with larger rounding errors than torch, for the reason of a check."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto

from lightning_onnx.onnxfile.specs import dims_of
from lightning_onnx.onnxfile.validity import without_large_weights

Shape = Sequence[int | str]
"""Dims; a name or nothing for those that are dynamic."""

_MANY = 10**5
"""Elements from which onnxruntime, which sums them in float32 one after the other, loses an order of magnitude."""


def _from_axis(node: NodeProto, shape: Shape) -> Shape:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
    return shape[axis:]


_NORMALIZED: Mapping[str, Callable[[NodeProto, Shape], Shape]] = {
    "InstanceNormalization": lambda node, shape: shape[2:],
    "LayerNormalization": _from_axis,
}
"""Operators, each with the dims of its input that one mean and one variance are computed over."""


def imprecise_operators(path: Path, outputs: Collection[str], sizes: Mapping[str, int]) -> str | None:
    """Return a clause on nodes that onnxruntime computes less precisely than torch; None if there are none.

    With 300,000 elements the error of a normalized value is about 1e-5, where that of torch is 6e-7.

    Args:
        path: The model.
        outputs: Names of the outputs that need a tolerance; only nodes that they depend on are told.
        sizes: Sizes of the dynamic dims by name.
    """
    model = without_large_weights(path)
    shapes = _shapes(model)
    found: dict[str, int] = {}
    for node in _before(model.graph, outputs):
        if node.domain in ("", "ai.onnx") and node.op_type in _NORMALIZED and node.input[0] in shapes:
            dims = _NORMALIZED[node.op_type](node, shapes[node.input[0]])
            number = math.prod(sizes.get(dim, 0) if isinstance(dim, str) else dim for dim in dims)
            if number > _MANY:
                found[node.op_type] = max(number, found.get(node.op_type, 0))
    if not found:
        return None
    kinds = " and ".join(f"{kind} over {number:,} elements" for kind, number in sorted(found.items()))
    return f"onnxruntime computes {kinds} with errors of about 1e-5, torch with errors below 1e-6"


def _shapes(model: ModelProto) -> dict[str, Shape]:
    graph = model.graph
    return {v.name: dims_of(v.type.tensor_type) for v in (*graph.input, *graph.value_info, *graph.output)}


def _before(graph: GraphProto, outputs: Collection[str]) -> list[NodeProto]:
    """Return the nodes that outputs depend on, without the bodies of loops and conditions."""
    makers = {name: node for node in graph.node for name in node.output}
    pending, seen, found = list(outputs), set(outputs), []
    while pending:
        node = makers.get(pending.pop())
        if node is not None:
            found.append(node)
            new = [name for name in node.input if name not in seen]
            seen.update(new)
            pending += new
    return found
