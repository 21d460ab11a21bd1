"""A part of an ONNX file between some of its values, as a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, NodeProto, checker, shape_inference, utils
from onnx.external_data_helper import load_external_data_for_model

from lightning_onnx.errors import InputError
from lightning_onnx.onnxfile.part_sizes import read_sizes_from
from lightning_onnx.onnxfile.walk import walk


def extract(path: Path, inputs: Sequence[str], outputs: Sequence[str], target: Path) -> None:
    """Write the part of a model that computes some values from others.

    Sizes that the part takes from values before it are read from its inputs, if these have them.

    Args:
        path: The model.
        inputs: Names of the values that the part takes.
        outputs: Names of the values that it returns.
        target: The new file.

    Raises:
        InputError: If the model has no such values, or the part needs other values of the model.
    """
    model = shape_inference.infer_shapes(onnx.load(path, load_external_data=False))
    load_external_data_for_model(model, str(path.parent))
    ends = f"from {', '.join(inputs)} to {', '.join(outputs)}"
    unknown = [name for name in (*inputs, *outputs) if name not in set(_values(model.graph))]
    if unknown:
        raise InputError(
            f"{path.name} has no part {ends}: no value is named {', '.join(unknown)}. Give names of values."
        )
    read_sizes_from(model.graph, inputs)
    part = utils.Extractor(model).extract_model(list(inputs), list(outputs))
    for node, name in _taken_from_outside(part):
        raise InputError(f"the part {ends} also needs the value {name}, for {node.op_type}: that must be an input too")
    too_large = part.ByteSize() > checker.MAXIMUM_PROTOBUF
    onnx.save(part, target, save_as_external_data=too_large, location=f"{target.name}.data")


def _values(graph: GraphProto) -> Iterator[str]:
    """Yield the names of the values with a known type."""
    yield from (value.name for value in (*graph.input, *graph.value_info, *graph.output))


def _taken_from_outside(part: ModelProto) -> Iterator[tuple[NodeProto, str]]:
    """Yield the values that nodes take, those in bodies of loops too, and that nothing in the part computes."""
    graphs = [each.proto for each in walk(part.graph) if isinstance(each.proto, GraphProto)]
    nodes = [node for graph in graphs for node in graph.node]
    known = {"", *(name for node in nodes for name in node.output)}
    for graph in graphs:
        known.update(value.name for value in (*graph.input, *graph.initializer))
    yield from ((node, name) for node in nodes for name in node.input if name not in known)


def operators_after(path: Path, values: Sequence[str]) -> tuple[str, ...]:
    """Return the operators that compute something of these values, each once, in their order.

    Args:
        path: The model; its weights are not read.
        values: Names of values that its main graph computes. Nodes that some of them need are left out.
    """
    nodes = onnx.load(path, load_external_data=False).graph.node
    needed = set(values)
    for node in reversed(nodes):
        if needed & set(node.output):
            needed.update(node.input)
    after, found = set(values), []
    for node in nodes:
        if after & set(node.input) and not needed & set(node.output):
            after.update(node.output)
            found.append(node.op_type)
    return tuple(dict.fromkeys(found))


def with_all_values(path: Path, target: Path) -> tuple[str, ...]:
    """Write a model that returns every tensor that a node of the main graph computes.

    Args:
        path: The model.
        target: The new file, with the weights in it.

    Returns:
        The names of its outputs, in the order in which they are computed.
    """
    model = shape_inference.infer_shapes(onnx.load(path))
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    names = [name for node in model.graph.node for name in node.output if name in known]
    kept = [name for name in names if known[name].type.WhichOneof("value") == "tensor_type"]
    values = {name: onnx.ValueInfoProto.FromString(known[name].SerializeToString()) for name in kept}
    del model.graph.output[:]
    model.graph.output.extend(values.values())
    onnx.save(model, target)
    return tuple(kept)
