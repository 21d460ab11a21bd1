"""An ONNX graph as TensorBoard's Graphs tab draws it, grouped by the modules that its nodes come from."""

from __future__ import annotations

import re
from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto
from tensorboard.compat.proto.attr_value_pb2 import AttrValue  # type: ignore[import-untyped]
from tensorboard.compat.proto.graph_pb2 import GraphDef  # type: ignore[import-untyped]
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto  # type: ignore[import-untyped]
from tensorboard.compat.proto.types_pb2 import DataType  # type: ignore[import-untyped]

from lightning_onnx.onnxfile.scopes import Path, path_of
from lightning_onnx.onnxfile.specs import dims_of
from lightning_onnx.onnxfile.walk import bodies


def graph_def(model: onnx.ModelProto) -> GraphDef:
    """Translate a model's graph; weights are drawn, not copied, so external ones need not be loaded.

    Args:
        model: A model whose nodes are in topological order, as ONNX requires.

    Returns:
        A graph in which the nodes of ``layer1.0.conv`` are named ``layer1/0/conv/...``, which TensorBoard groups by.
        The module is read from the metadata that torch's newer exporter writes, else from the nodes' names, which its
        older one forms that way.
    """
    builder = _Builder()
    builder.add_graph(model.graph)
    return builder.graph


class _Builder:
    """One GraphDef in the making; its names are unique over the graph and all graphs inside it."""

    def __init__(self) -> None:
        self.graph = GraphDef()
        self._taken: set[str] = set()
        self._counts: Counter[str] = Counter()

    def add_graph(self, graph: GraphProto, inside: Path = (), outer: ChainMap[str, str] | None = None) -> None:
        """Add a graph's nodes.

        Args:
            graph: The model's graph, or the body of an If, Loop or Scan.
            inside: Where that graph is drawn.
            outer: The nodes that produce the values of the graphs around it; ``:1`` marks a second output.
        """
        values = ChainMap[str, str]() if outer is None else outer.new_child()
        paths = [(*inside, *path_of(node)) for node in graph.node]
        for path in paths:
            self._taken.update(_join(path[:depth]) for depth in range(1, len(path)))
        weights = {tensor.name for tensor in graph.initializer}
        for value in graph.input:
            if value.name not in weights:
                values[value.name] = self._add((*inside, value.name), "Placeholder", [], [value.type])
        self._add_weights(graph, inside, paths, values)
        types = {value.name: value.type for value in (*graph.value_info, *graph.output)}
        for node, path in zip(graph.node, paths, strict=True):
            self._add_node(node, path, types, values)
        for value in graph.output:
            self._add((*inside, value.name), "Output", _edges([value.name], values), [value.type])

    def _add_weights(self, graph: GraphProto, inside: Path, paths: list[Path], values: ChainMap[str, str]) -> None:
        users: dict[str, Path] = {}
        for node, path in zip(graph.node, paths, strict=True):
            for name in node.input:
                users.setdefault(name, path[:-1])
        for tensor in graph.initializer:
            *module, name = [tensor.name] if "::" in tensor.name else tensor.name.split(".")
            # A node without a module, such as a folded constant, is drawn beside its first user.
            parent = (*inside, *module) if module else users.get(tensor.name, inside)
            tensor_type = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            values[tensor.name] = self._add((*parent, name), "Const", [], [tensor_type])

    def _add_node(
        self, node: NodeProto, path: Path, types: Mapping[str, TypeProto], values: ChainMap[str, str]
    ) -> None:
        op = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        attributes = {a.name: value for a in node.attribute if (value := _attribute(a)) is not None}
        attributes["onnx_name"] = _text(node.name)
        outputs = [types.get(name) for name in node.output]
        added = self._add(path, op, _edges(node.input, values), outputs, attributes)
        values.update((name, f"{added}:{i}" if i else added) for i, name in enumerate(node.output))
        for attribute, body in bodies(node):
            self.add_graph(body, (*added.split("/")[:-1], f"{added.split('/')[-1]}_{attribute}"), values)

    def _add(
        self,
        path: Path,
        op: str,
        inputs: Iterable[str],
        outputs: Sequence[TypeProto | None],
        attributes: Mapping[str, AttrValue] | None = None,
    ) -> str:
        node = self.graph.node.add(name=self._unique(_join(path)), op=op, input=inputs)
        for key, value in (*_type_attributes(outputs).items(), *(attributes or {}).items()):
            node.attr[key].CopyFrom(value)
        return str(node.name)

    def _unique(self, name: str) -> str:
        candidate = name
        while candidate in self._taken:
            self._counts[name] += 1
            candidate = f"{name}_{self._counts[name]}"
        self._taken.add(candidate)
        return candidate


def _join(path: Path) -> str:
    """Return a path as a valid name: TensorBoard would read a colon as the number of an output."""
    return "/".join(re.sub(r"[^\w.@-]", "_", part, flags=re.ASCII) for part in path if part)


def _edges(names: Iterable[str], values: Mapping[str, str]) -> list[str]:
    return [values[name] for name in names if name and name in values]


def _type_attributes(types: Sequence[TypeProto | None]) -> dict[str, AttrValue]:
    """Return what is known about a node's outputs: as text, for TensorBoard's edges, and in TensorFlow's types."""
    tensors = [t.tensor_type if t is not None and t.HasField("tensor_type") else None for t in types]
    if all(tensor is None for tensor in tensors):
        return {}
    shapes = [_shape(tensor) for tensor in tensors]
    found = {
        "outputs": _text(", ".join(_describe(tensor) for tensor in tensors)),
        "_output_shapes": AttrValue(list=AttrValue.ListValue(shape=shapes)),
    }
    if len(tensors) == 1 and tensors[0] is not None:
        found["shape"] = AttrValue(shape=shapes[0])
        name = TensorProto.DataType.Name(tensors[0].elem_type)
        # ONNX and TensorFlow have other numbers for types, but mostly the same names. 4 and 8 bit floats are only text.
        tf_name = "DT_HALF" if name == "FLOAT16" else f"DT_{name}"
        if tf_name in dict(DataType.items()):
            found["dtype"] = AttrValue(type=DataType.Value(tf_name))
    return found


def _shape(tensor: TypeProto.Tensor | None) -> TensorShapeProto:
    if tensor is None or not tensor.HasField("shape"):
        return TensorShapeProto(unknown_rank=True)
    sizes = (dim if isinstance(dim, int) else -1 for dim in dims_of(tensor))
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in sizes])


def _describe(tensor: TypeProto.Tensor | None) -> str:
    """Return a type as text; dynamic dims keep their names.

    Example:
        >>> _describe(onnx.helper.make_tensor_type_proto(1, ["batch", 3]).tensor_type)
        'float[batch, 3]'
    """
    if tensor is None:
        return "?"
    name = TensorProto.DataType.Name(tensor.elem_type).lower()
    if not tensor.HasField("shape"):
        return f"{name}[...]"
    dims = ("?" if dim == "" else str(dim) for dim in dims_of(tensor))
    return f"{name}[{', '.join(dims)}]"


def _attribute(attribute: AttributeProto) -> AttrValue | None:
    """Return an ONNX attribute as TensorFlow's; None for graphs, which are drawn, and for types TensorFlow lacks."""
    a, lists = attribute, AttrValue.ListValue
    if a.type == AttributeProto.TENSOR:
        return _text(_describe(onnx.helper.make_tensor_type_proto(a.t.data_type, a.t.dims).tensor_type))
    plain = {
        AttributeProto.INT: lambda: AttrValue(i=a.i),
        AttributeProto.FLOAT: lambda: AttrValue(f=a.f),
        AttributeProto.STRING: lambda: AttrValue(s=a.s),
        AttributeProto.INTS: lambda: AttrValue(list=lists(i=a.ints)),
        AttributeProto.FLOATS: lambda: AttrValue(list=lists(f=a.floats)),
        AttributeProto.STRINGS: lambda: AttrValue(list=lists(s=a.strings)),
    }
    return plain[a.type]() if a.type in plain else None


def _text(text: str) -> AttrValue:
    return AttrValue(s=text.encode())
