"""Which values of a graph enter and leave each call of a submodule, as far as the names of its nodes show it."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import onnx
from onnx import GraphProto, NodeProto

from lightning_onnx.onnxfile.scopes import path_of


class ModuleCall(NamedTuple):
    """One of the calls of a submodule.

    Attributes:
        module: Qualified name of the submodule.
        number: Number of the call, from 0.
    """

    module: str
    number: int


@dataclasses.dataclass(frozen=True)
class Sides:
    """The values that enter and leave a call, where it is certain which one is which.

    Attributes:
        entering: Names of values by element type, if only one of that type enters.
        leaving: Names of values by element type, if only one of that type leaves.
    """

    entering: Mapping[int, str]
    leaving: Mapping[int, str]


def find_sides(graph: GraphProto, modules: set[str]) -> dict[ModuleCall, Sides]:
    """Return the values that enter and leave each call.

    Args:
        graph: A graph that the TorchScript based engine wrote.
        modules: Qualified names of all submodules.
    """
    calls = {i: _call(node, modules) for i, node in enumerate(graph.node)}
    numbers: dict[str, set[int]] = defaultdict(set)
    for module, number in filter(None, calls.values()):
        numbers[module].add(number)
    nodes: dict[ModuleCall, set[int]] = defaultdict(set)
    for i, call in calls.items():
        if call is not None:
            nodes[call].add(i)
            for parent in _parents(call.module):
                if numbers.get(parent, {0}) == {0}:  # of several calls it is not known which one the node is in
                    nodes[ModuleCall(parent, 0)].add(i)
    types = _types(graph)
    complete = {call: inside for call, inside in nodes.items() if _is_complete(call, nodes, numbers)}
    return {call: _sides(graph, inside, types) for call, inside in complete.items()}


def _call(node: NodeProto, modules: set[str]) -> ModuleCall | None:
    """Return the call that a node belongs to; None if its name does not show it."""
    if not node.name.startswith("/"):
        return None
    name = ".".join(path_of(node)[:-1])
    counted = re.fullmatch(r"(.+)_(\d+)", name)
    again = ModuleCall(counted[1], int(counted[2])) if counted and counted[1] in modules else None
    if name in modules:
        return None if again else ModuleCall(name, 0)
    return again


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _is_complete(call: ModuleCall, calls: Iterable[ModuleCall], numbers: Mapping[str, set[int]]) -> bool:
    """Whether all nodes of a call are known: a module that is called again must have no nodes in submodules."""
    once = numbers.get(call.module, {0}) == {0}
    return once or not any(other.module.startswith(f"{call.module}.") for other in calls)


def _types(graph: GraphProto) -> dict[str, int]:
    """Return the element types of values, as far as onnx infers them."""
    return {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}


def _sides(graph: GraphProto, inside: set[int], types: Mapping[str, int]) -> Sides:
    made = {name for i in inside for name in graph.node[i].output}
    used = {name for i in inside for name in graph.node[i].input}
    weights = {w.name for w in graph.initializer}
    weights |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    outside = {name for i, node in enumerate(graph.node) if i not in inside for name in node.input}
    outside |= {output.name for output in graph.output}
    return Sides(_one_per_type(used - made - weights, types), _one_per_type((made & outside) - weights, types))


def _one_per_type(names: Iterable[str], types: Mapping[str, int]) -> dict[int, str]:
    by_type: dict[int, list[str]] = defaultdict(list)
    for name in names:
        by_type[types.get(name, onnx.TensorProto.UNDEFINED)].append(name)
    unknown = by_type.pop(onnx.TensorProto.UNDEFINED, [])
    return {} if unknown else {type_: found[0] for type_, found in by_type.items() if len(found) == 1}
