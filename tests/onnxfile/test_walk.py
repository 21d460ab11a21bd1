"""Every part of a model is visited, with its location."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import GraphProto, NodeProto, SparseTensorProto, TensorProto, helper

from lightning_onnx.onnxfile import walk

FLOAT = TensorProto.FLOAT


def tensor(name: str) -> TensorProto:
    return helper.make_tensor(name, FLOAT, [1], [1.0])


def sparse(name: str) -> SparseTensorProto:
    return helper.make_sparse_tensor(
        tensor(name), helper.make_tensor(f"{name}_indices", TensorProto.INT64, [1], [0]), [9]
    )


def graph(name: str, nodes: Iterable[NodeProto]) -> GraphProto:
    value = [helper.make_tensor_value_info(f"{name}_{end}", FLOAT, [1]) for end in ("in", "out")]
    return helper.make_graph(
        list(nodes),
        name,
        value[:1],
        value[1:],
        [tensor(f"{name}_weight")],
        sparse_initializer=[sparse(f"{name}_sparse")],
    )


def constant(name: str) -> NodeProto:
    return helper.make_node("Constant", [], [name], name=name, value=tensor(f"{name}_value"))


def model() -> onnx.ModelProto:
    """A branch in a loop, a list of graphs, sparse and several tensors in attributes, a function, training graphs."""
    branch = helper.make_node(
        "If", ["condition"], ["chosen"], name="branch", then_branch=graph("then", [constant("deep")])
    )
    loop = helper.make_node("Loop", ["", "again", "state"], ["last"], name="loop", body=graph("body", [branch]))
    several = helper.make_node("Several", ["x"], ["y"], name="several", domain="own")
    several.attribute.append(
        helper.make_attribute("graphs", [graph("first", []), graph("second", [constant("listed")])])
    )
    several.attribute.append(helper.make_attribute("tensors", [tensor("one"), tensor("two")]))
    several.attribute.append(helper.make_attribute("sparse", sparse("attribute_sparse")))
    function = helper.make_function("own", "twice", ["a"], ["b"], [constant("inside")], [helper.make_opsetid("", 18)])
    function.attribute_proto.append(helper.make_attribute("default", tensor("default")))
    made = helper.make_model(graph("main", [loop, several]), functions=[function])
    made.training_info.append(
        helper.make_training_info(graph("algorithm", [constant("step")]), [], graph("start", [constant("begin")]), [])
    )
    return made


def test_nodes_come_in_order_with_those_inside() -> None:
    names = [node.name for node in walk.nodes(model())]
    assert names == ["loop", "branch", "deep", "several", "listed", "inside", "begin", "step"]


def test_every_tensor_is_found() -> None:
    proto = model()
    found = {t.name for t in walk.tensors(proto)}
    graphs = ("main", "body", "then", "first", "second", "algorithm", "start")
    weights = {f"{name}_{end}" for name in graphs for end in ("weight", "sparse", "sparse_indices")}
    constants = {f"{name}_value" for name in ("deep", "listed", "inside", "step", "begin")}
    own = {"one", "two", "attribute_sparse", "attribute_sparse_indices", "default"}
    assert found == weights | constants | own


def test_each_part_tells_its_place() -> None:
    places = {
        part.proto.name: (part.place, [node.name for node in part.around])
        for part in walk.walk(model())
        if not isinstance(part.proto, TensorProto)
    }
    assert places["main"] == ("the graph", [])
    assert places["main_in"] == ("value main_in", [])
    assert places["body"] == ("node loop, body", ["loop"])
    assert places["then"] == ("node branch, then_branch", ["loop", "branch"])
    assert places["deep"] == ("node deep", ["loop", "branch"])
    assert places["twice"] == ("function twice", [])
    assert places["start"] == ("the training initialization", [])


def test_a_graph_or_a_function_is_walked_by_itself() -> None:
    proto = model()
    assert [node.name for node in walk.nodes(proto.graph)] == ["loop", "branch", "deep", "several", "listed"]
    assert [node.name for node in walk.nodes(proto.functions[0])] == ["inside"]


def test_values_that_a_node_reads_in_its_subgraphs() -> None:
    loop, several = model().graph.node
    assert list(walk.inputs(loop)) == ["", "again", "state", "condition"]
    assert [(name, body.name) for name, body in walk.bodies(loop)] == [("body", "body")]
    assert [(name, body.name) for name, body in walk.bodies(several)] == [("graphs", "first"), ("graphs", "second")]
