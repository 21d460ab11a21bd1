"""Every graph, value, tensor and node of a model with its place; subgraphs, functions and training graphs included."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TypeAlias

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

Owner: TypeAlias = ModelProto | GraphProto | FunctionProto
Proto: TypeAlias = GraphProto | FunctionProto | ValueInfoProto | TensorProto | NodeProto


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a model.

    Attributes:
        proto: The part itself.
        place: Where it is, in words: ``"the graph"``, ``"value x"``, ``"node Loop_1, body"``.
        around: The nodes whose subgraphs it is in, outermost first.
    """

    proto: Proto
    place: str
    around: tuple[NodeProto, ...] = ()


def walk(owner: Owner) -> Iterator[Part]:
    """Yield all parts in the order of the file; a graph comes before what it holds, a node before its subgraphs.

    Args:
        owner: A model, a graph, or a function.
    """
    if isinstance(owner, GraphProto):
        yield from _graph(owner, "the graph", ())
    elif isinstance(owner, FunctionProto):
        yield from _function(owner)
    else:
        yield from _graph(owner.graph, "the graph", ())
        for function in owner.functions:
            yield from _function(function)
        for info in owner.training_info:
            yield from _graph(info.initialization, "the training initialization", ())
            yield from _graph(info.algorithm, "the training algorithm", ())


def nodes(owner: Owner) -> Iterator[NodeProto]:
    """Yield all nodes, those of subgraphs right after the node that holds them."""
    return (part.proto for part in walk(owner) if isinstance(part.proto, NodeProto))


def tensors(owner: Owner) -> Iterator[TensorProto]:
    """Yield all tensors: initializers, attributes, and the values and indices of sparse ones."""
    return (part.proto for part in walk(owner) if isinstance(part.proto, TensorProto))


def inputs(node: NodeProto) -> Iterator[str]:
    """Yield the names of all values that a node reads, in its subgraphs too."""
    yield from node.input
    for _, body in bodies(node):
        for inner in body.node:
            yield from inputs(inner)


def bodies(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """Yield the subgraphs of a node, each with the name of its attribute."""
    for attribute in node.attribute:
        for body in _bodies(attribute):
            yield attribute.name, body


def _bodies(attribute: AttributeProto) -> Iterator[GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _graph(graph: GraphProto, place: str, around: tuple[NodeProto, ...]) -> Iterator[Part]:
    yield Part(graph, place, around)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield Part(value, f"value {value.name}", around)
    for sparse in graph.sparse_initializer:
        for tensor in (sparse.values, sparse.indices):
            yield Part(tensor, f"value {sparse.values.name}", around)
    for node in graph.node:
        yield from _node(node, around)


def _function(function: FunctionProto) -> Iterator[Part]:
    place = f"function {function.name}"
    yield Part(function, place)
    for value in function.value_info:
        yield Part(value, f"value {value.name}")
    for default in function.attribute_proto:
        yield from _attribute(default, f"{place}, {default.name}", ())
    for node in function.node:
        yield from _node(node, ())


def _node(node: NodeProto, around: tuple[NodeProto, ...]) -> Iterator[Part]:
    place = f"node {node.name or node.op_type}"
    yield Part(node, place, around)
    for attribute in node.attribute:
        yield from _attribute(attribute, f"{place}, {attribute.name}", (*around, node))


def _attribute(attribute: AttributeProto, place: str, around: tuple[NodeProto, ...]) -> Iterator[Part]:
    sparse = [*attribute.sparse_tensors]
    if attribute.HasField("sparse_tensor"):
        sparse.append(attribute.sparse_tensor)
    held = [*attribute.tensors, *(tensor for each in sparse for tensor in (each.values, each.indices))]
    if attribute.HasField("t"):
        held.append(attribute.t)
    for tensor in held:
        yield Part(tensor, place, around)
    for body in _bodies(attribute):
        yield from _graph(body, place, around)
