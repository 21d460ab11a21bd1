"""The few large parts of a graph and how values flow between them, for a picture of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import onnx
from onnx import NodeProto

from lightning_onnx.onnxfile import walk
from lightning_onnx.onnxfile.graph_summary import MOST_BLOCKS, Block
from lightning_onnx.onnxfile.scopes import Path, path_of
from lightning_onnx.onnxfile.specs import dims_of

_FEW = 5
"""Blocks that are enough to see how a model is built; fewer are split up further."""

_TOO_FEW = 3

_INPUT = -1
"""Stands for the graph's inputs where the position of a block is asked for."""


@dataclasses.dataclass
class _Part:
    """Nodes that become a block: of one module, or operators that lie directly in a module that is split up.

    Attributes:
        first: Qualified name of the module.
        last: That of the last of several modules of one class.
        is_module: Whether it is a whole module.
        nodes: The nodes.
    """

    first: Path
    last: Path
    is_module: bool
    nodes: list[NodeProto]


def blocks(model: onnx.ModelProto, classes: Mapping[str, str], most: int = MOST_BLOCKS) -> tuple[Block, ...]:
    """Return the large parts of a graph in the order in which they run; each takes values of earlier ones only.

    Nodes that compute from sizes and weights only are left out.

    Args:
        model: The model; weights need not be loaded.
        classes: The class of each module, by qualified name.
        most: The largest number of parts.
    """
    nodes = [(node, path_of(node)[:-1]) for node in _on_values(model.graph)]
    parts = _parts(nodes, _cut([path for _, path in nodes], classes, most))
    _merge(parts, classes, most)
    return _blocks(model.graph, parts, classes)


def _on_values(graph: onnx.GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes that compute from values of the inputs, not only from their sizes."""
    weights = {tensor.name for tensor in graph.initializer}
    known = {value.name for value in graph.input} - weights
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and not known.isdisjoint(walk.inputs(node)):
            known.update(node.output)
            yield node


def _cut(paths: Sequence[Path], classes: Mapping[str, str], most: int) -> set[Path]:
    """Return the modules that become blocks: while they are few, the largest are split up, with all of their class."""
    counts = Counter(path[:depth] for path in paths for depth in range(len(path) + 1))
    children: dict[Path, set[Path]] = defaultdict(set)
    for path in counts:
        if path:
            children[path[:-1]].add(path)
    chosen: set[Path] = {()}
    while len(chosen) < _FEW:
        kinds: dict[object, set[Path]] = defaultdict(set)
        for path in chosen:
            if children[path]:
                kinds[classes.get(".".join(path), path)].add(path)
        split = {kind: chosen - kinds[kind] | set().union(*(children[p] for p in kinds[kind])) for kind in kinds}
        fitting = [kind for kind in split if len(split[kind]) <= most or len(chosen) < _TOO_FEW]  # merged later
        if not fitting:
            break
        chosen = split[max(fitting, key=lambda kind: sum(counts[p] for p in kinds[kind]))]
    return chosen


def _parts(nodes: Sequence[tuple[NodeProto, Path]], chosen: set[Path]) -> list[_Part]:
    """Return the nodes in parts; a module that runs again after others is a new part, so that no value flows back."""
    parts: list[_Part] = []
    newest: dict[tuple[Path, bool], int] = {}
    place: dict[str, int] = {}
    for node, path in nodes:
        module = next((path[:depth] for depth in range(len(path) + 1) if path[:depth] in chosen), None)
        key = (path, False) if module is None else (module, True)
        earliest = max((place.get(name, _INPUT) for name in walk.inputs(node)), default=_INPUT)
        here = newest.get(key, _INPUT)
        if here == _INPUT or here < earliest:
            here = newest[key] = len(parts)
            parts.append(_Part(key[0], key[0], key[1], []))
        parts[here].nodes.append(node)
        place.update(dict.fromkeys(node.output, here))
    return parts


def _merge(parts: list[_Part], classes: Mapping[str, str], most: int) -> None:
    """Merge neighbours until there are few: loose operators first, then modules of one class, then the smallest."""

    def size(pair: int) -> int:
        return len(parts[pair].nodes) + len(parts[pair + 1].nodes)

    def kind(part: _Part) -> str | None:
        return classes.get(".".join(part.first)) if part.is_module else None

    while len(parts) > most:
        pairs = range(len(parts) - 1)
        loose = [p for p in pairs if not parts[p + 1].is_module]
        alike = [p for p in pairs if kind(parts[p]) is not None and kind(parts[p]) == kind(parts[p + 1])]
        chosen = min(loose or alike or pairs, key=size)
        into, merged = parts[chosen], parts.pop(chosen + 1)
        into.nodes += merged.nodes
        if merged.is_module:
            into.last = merged.last
            if not into.is_module:
                into.first, into.is_module = merged.first, True


def _blocks(graph: onnx.GraphProto, parts: Sequence[_Part], classes: Mapping[str, str]) -> tuple[Block, ...]:
    weights = {tensor.name for tensor in graph.initializer}
    place = {value.name: _INPUT for value in graph.input if value.name not in weights}
    place |= {name: here for here, part in enumerate(parts) for node in part.nodes for name in node.output}
    taken = [
        {name for node in part.nodes for name in walk.inputs(node) if place.get(name, here) < here}
        for here, part in enumerate(parts)
    ]
    used = {value.name for value in graph.output}.union(*taken)
    shapes = {v.name: _shape(v) for v in itertools.chain(graph.value_info, graph.output)}
    found = []
    for here, part in enumerate(parts):
        returned = [name for node in part.nodes for name in node.output if name in used]
        sources = tuple(sorted({place[name] for name in taken[here]}))
        shape = shapes.get(returned[0]) if len(returned) == 1 else None
        found.append(Block(_label(part), _class(part, classes), len(part.nodes), shape, sources))
    return tuple(found)


def _label(part: _Part) -> str:
    if part.is_module and part.first:
        names = dict.fromkeys((".".join(part.first), ".".join(part.last)))
        return " … ".join(names)
    kinds = list(dict.fromkeys(node.op_type for node in part.nodes))
    return ", ".join(kinds[:3]) + (", …" if len(kinds) > 3 else "")


def _class(part: _Part, classes: Mapping[str, str]) -> str | None:
    if not part.is_module:
        return None
    both = {classes.get(".".join(name)) for name in (part.first, part.last)}
    return both.pop() if len(both) == 1 else None


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple("?" if dim == "" else dim for dim in dims_of(kind))
