"""What enters and leaves each call of a submodule, in torch and in the graph that the TorchScript based engine wrote.

That engine keeps no program that could be run by name; it names nodes after the calls that they come from:
``/net/net.0_1/MatMul`` is of the second call of ``net.0``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import GraphProto, NodeProto
from torch import Tensor, nn

from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.nested import flatten
from lightning_onnx.module.flat import PREFIX, FlatModule
from lightning_onnx.module.inner_values import OnValue
from lightning_onnx.onnxfile.scopes import path_of

Call = tuple[str, int]
"""Qualified name of a module, and the number of its call, from 0."""


@dataclasses.dataclass(frozen=True)
class Boundaries:
    """Tells the tensors at the boundaries of calls, see ``lightning_onnx.module.inner_values.Inner``.

    Args:
        flat: A private copy, on which hooks are set meanwhile.
    """

    flat: FlatModule

    def __call__(self, graph: GraphProto, tensors: Sequence[Tensor], take: OnValue) -> None:
        """Run the module."""
        modules = {n.removeprefix(PREFIX): m for n, m in self.flat.named_modules() if n.startswith(PREFIX)}
        watched = _Watched(_sides(graph, set(modules)), take)
        with contextlib.ExitStack() as hooks:
            for name, module in modules.items():
                if not isinstance(module, torch.jit.ScriptModule):
                    hooks.callback(module.register_forward_pre_hook(watched.entering(name), with_kwargs=True).remove)
                    hooks.callback(module.register_forward_hook(watched.leaving(name)).remove)
            self.flat.reference(tensors)


Sides = Mapping[Call, tuple[dict[int, str], dict[int, str]]]
"""The one value of each type that enters a call, and the one that leaves it."""


class _Watched:
    """Hooks that tell the tensors which a call takes and gives under the names of the file's values."""

    def __init__(self, sides: Sides, take: OnValue) -> None:
        self.sides = sides
        self.take = take
        self.started: Counter[str] = Counter()
        self.running: list[Call] = []
        self.known: dict[int, tuple[weakref.ref[Tensor], str]] = {}

    def entering(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            call = (name, self.started[name])
            self.started[name] += 1
            self.running.append(call)
            if call in self.sides:
                self._tell(self.sides[call][0], (args, kwargs))

        return hook

    def leaving(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            call = self.running.pop()
            if call in self.sides:
                self._tell(self.sides[call][1], output)
            else:  # it has no node: a batch norm that was worked into the layer before it, say
                self._tell_merged(args, output)

        return hook

    def _tell(self, names: Mapping[int, str], value: Any) -> None:
        for tensor in _alone(value):
            if name := names.get(_kind(tensor)):
                self.known[id(tensor)] = (weakref.ref(tensor), name)
                self.take(name, tensor.detach().clone())

    def _tell_merged(self, args: Any, output: Any) -> None:
        taken, given = _tensors(args), _tensors(output)
        if len(taken) == len(given) == 1:
            found, name = self.known.get(id(taken[0]), (None, ""))
            if found is not None and found() is taken[0]:
                self.known[id(given[0])] = (weakref.ref(given[0]), name)
                self.take(name, given[0].detach().clone())


def _tensors(value: Any) -> list[Tensor]:
    return list(flatten(value, opaque=True)[1])


def _kind(tensor: Tensor) -> int:
    """Return ONNX's number of a tensor's type."""
    return int(onnx.helper.np_dtype_to_tensor_dtype(to_numpy(torch.empty(0, dtype=tensor.dtype)).dtype))


def _alone(value: Any) -> Iterator[Tensor]:
    """Yield tensors whose dtype no other has: which value is which is then certain."""
    tensors = _tensors(value)
    dtypes = Counter(t.dtype for t in tensors)
    yield from (t for t in tensors if dtypes[t.dtype] == 1)


# The same in the graph ------------------------------------------------------------------------------------------------


def _sides(graph: GraphProto, modules: set[str]) -> Sides:
    calls = {i: _call(node, modules) for i, node in enumerate(graph.node)}
    times = defaultdict(set)
    for name, number in filter(None, calls.values()):
        times[name].add(number)
    inside: dict[Call, set[int]] = defaultdict(set)
    for i, call in calls.items():
        if call is not None:
            inside[call].add(i)
            for above in _above(call[0]):
                if times.get(above, {0}) == {0}:  # of several calls it is not known which one the node is in
                    inside[above, 0].add(i)
    types = _types(graph)
    return {call: _crossing(graph, nodes, types) for call, nodes in inside.items() if _whole(call, inside, times)}


def _call(node: NodeProto, modules: set[str]) -> Call | None:
    """Return the call that a node is of; None where its name does not tell."""
    if not node.name.startswith("/"):
        return None
    name = ".".join(path_of(node)[:-1])
    counted = re.fullmatch(r"(.+)_(\d+)", name)
    again = (counted[1], int(counted[2])) if counted and counted[1] in modules else None
    if name in modules:
        return None if again else (name, 0)
    return again


def _above(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _whole(call: Call, inside: Mapping[Call, set[int]], times: Mapping[str, set[int]]) -> bool:
    """Whether all nodes of a call are known: a module that is called again must have no nodes in submodules."""
    name, _ = call
    return times.get(name, {0}) == {0} or not any(other.startswith(f"{name}.") for other, _ in inside)


def _types(graph: GraphProto) -> dict[str, int]:
    """Types of values, as far as onnx infers them."""
    return {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}


def _crossing(graph: GraphProto, nodes: set[int], types: Mapping[str, int]) -> tuple[dict[int, str], dict[int, str]]:
    made = {name for i in nodes for name in graph.node[i].output}
    used = {name for i in nodes for name in graph.node[i].input}
    weights = {w.name for w in graph.initializer}
    weights |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    outside = {name for i, node in enumerate(graph.node) if i not in nodes for name in node.input}
    outside |= {output.name for output in graph.output}
    return _one_a_type(used - made - weights, types), _one_a_type((made & outside) - weights, types)


def _one_a_type(names: Iterable[str], types: Mapping[str, int]) -> dict[int, str]:
    by_type = defaultdict(list)
    for name in names:
        by_type[types.get(name, onnx.TensorProto.UNDEFINED)].append(name)
    unknown = by_type.pop(onnx.TensorProto.UNDEFINED, [])
    return {} if unknown else {kind: found[0] for kind, found in by_type.items() if len(found) == 1}
