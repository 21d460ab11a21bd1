"""Sizes that a part of a graph reads from values before it, read from the part's own inputs instead.

Torch reads the batch size once, from the raw input, and uses it everywhere. The method's part of the graph would need
the raw input for that number only, which its own inputs have too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper

from lightning_onnx.onnxfile.specs import dims_of

Dim = int | str
"""A size, or the name of one; the empty name is unknown."""


def read_sizes_from(graph: GraphProto, inputs: Sequence[str]) -> None:
    """Replace every ``Shape`` of a value before a part if inputs of the part have the same dims.

    Dims are the same if they have the same name or the same fixed size. Other nodes stay as they are.

    Args:
        graph: The whole graph with inferred shapes; changed in place. Afterwards it can only be cut at these inputs.
        inputs: Names of the values that the part takes.
    """
    shapes = {value.name: dims_of(value.type.tensor_type) for value in (*graph.input, *graph.value_info, *graph.output)}
    places = {dim: (name, axis) for name in inputs for axis, dim in enumerate(shapes.get(name, ())) if dim}
    inside, nodes = set(inputs), []
    for node in graph.node:
        if inside & set(node.input):
            inside.update(node.output)
        elif node.op_type == "Shape" and not node.domain:
            nodes += _replaced(node, shapes, places) or [node]
            continue
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _replaced(
    node: NodeProto, shapes: Mapping[str, tuple[Dim, ...]], places: Mapping[Dim, tuple[str, int]]
) -> list[NodeProto]:
    """Return nodes that compute the same sizes from a part's inputs; none if a dim is not theirs."""
    limits = {attribute.name: attribute.i for attribute in node.attribute}
    dims = shapes.get(node.input[0], ())[limits.get("start", 0) : limits.get("end")]
    if not dims or not all(isinstance(dim, int) or dim in places for dim in dims):
        return []
    (result,) = node.output
    made: list[NodeProto] = []
    parts: list[str] = []
    for number, dim in enumerate(dims):
        parts.append(f"{result}_size_{number}")
        made += _constant(parts[-1], dim) if isinstance(dim, int) else _read(parts[-1], *places[dim])
    return [*made, helper.make_node("Concat", parts, [result], name=f"{node.name}_of_the_part", axis=0)]


def _read(name: str, value: str, axis: int) -> Iterator[NodeProto]:
    yield helper.make_node("Shape", [value], [f"{name}_shape"])
    yield from _constant(f"{name}_axis", axis)
    yield helper.make_node("Gather", [f"{name}_shape", f"{name}_axis"], [name])


def _constant(name: str, number: int) -> Iterator[NodeProto]:
    yield helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array([number])))
