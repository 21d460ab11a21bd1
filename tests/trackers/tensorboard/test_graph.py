from __future__ import annotations

import time
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from tensorboard.compat.proto import types_pb2

from lightning_onnx import ONNXArtifact
from lightning_onnx.trackers.tensorboard.graph import graph_def


def draw(model: Any) -> dict[str, Any]:
    """Return the nodes by name; names must be unique, and edges must start at one of them."""
    graph = graph_def(model)
    nodes = {node.name: node for node in graph.node}
    assert len(nodes) == len(graph.node)
    for node in graph.node:
        for edge in node.input:
            assert edge.partition(":")[0] in nodes
    scopes = {name[:i] for name in nodes for i, char in enumerate(name) if char == "/"}
    assert not scopes & set(nodes)
    return nodes


def model_of(nodes: list[Any], *, initializer: Any = (), value_info: Any = (), outputs: Any = ("y",)) -> Any:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    ys = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None]) for name in outputs]
    return helper.make_model(
        helper.make_graph(nodes, "g", [x], ys, initializer=list(initializer), value_info=list(value_info))
    )


def in_scopes(node: Any, *scopes: str) -> Any:
    entry = node.metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", repr(list(scopes))
    return node


def test_dynamo_export_is_grouped_by_module(dynamo_artifact: ONNXArtifact) -> None:
    nodes = draw(onnx.load(dynamo_artifact.model_path))
    assert {name: node.op for name, node in nodes.items() if "val_" not in name} == {
        "image": "Placeholder",
        "layer1/0/conv/weight": "Const",
        "layer1/0/conv/bias": "Const",
        "layer1/0/conv/Conv": "Conv",
        "layer1/0/Relu": "Relu",
        "layer1/0/Add": "Add",
        "layer1/1/conv/weight": "Const",
        "layer1/1/conv/bias": "Const",
        "layer1/1/conv/Conv": "Conv",
        "layer1/1/Relu": "Relu",
        "layer1/1/Add": "Add",
        "ReduceMean": "ReduceMean",
        "head/weight_transposed": "Const",
        "head/MatMul": "MatMul",
        "head/bias": "Const",
        "head/Add": "Add",
        "logits": "Output",
    }
    assert list(nodes["layer1/0/conv/Conv"].input) == ["image", "layer1/0/conv/weight", "layer1/0/conv/bias"]
    assert nodes["layer1/1/conv/Conv"].input[0] == "layer1/0/Add"
    assert list(nodes["logits"].input) == ["head/Add"]
    (folded,) = [node.name for node in nodes.values() if [d.size for d in node.attr["shape"].shape.dim] == [8, 2]]
    assert folded == "head/weight_transposed"


def test_torchscript_export_is_grouped_by_module(artifact: ONNXArtifact) -> None:
    nodes = draw(onnx.load(artifact.model_path))
    groups = {name.rpartition("/")[0] for name, node in nodes.items() if node.op == "Conv"}
    assert groups == {"layer1/0/conv", "layer1/1/conv"}
    assert {name.rpartition("/")[0] for name in nodes if name.endswith("conv/weight")} == groups


def test_shapes_dtypes_and_attributes(dynamo_artifact: ONNXArtifact) -> None:
    nodes = draw(onnx.load(dynamo_artifact.model_path))
    image, conv, weight = (nodes[name].attr for name in ("image", "layer1/0/conv/Conv", "layer1/0/conv/weight"))
    assert [d.size for d in weight["shape"].shape.dim] == [3, 3, 3, 3]
    assert weight["dtype"].type == types_pb2.DT_FLOAT
    assert image["outputs"].s == b"float[batch, 3, 8, 8]"
    for attributes in (image, conv):
        (shape,) = attributes["_output_shapes"].list.shape
        assert [d.size for d in shape.dim] == [-1, 3, 8, 8]
    assert list(conv["pads"].list.i) == [1, 1, 1, 1]
    assert conv["onnx_name"].s == b"node_conv2d"


@pytest.mark.parametrize(
    ("onnx_type", "tf_type"),
    [("FLOAT16", "DT_HALF"), ("BFLOAT16", "DT_BFLOAT16"), ("INT64", "DT_INT64"), ("DOUBLE", "DT_DOUBLE")],
)
def test_dtype_is_tensorflows_of_that_name(onnx_type: str, tf_type: str) -> None:
    value = helper.make_tensor_value_info("v", TensorProto.DataType.Value(onnx_type), [2])
    nodes = draw(
        model_of(
            [helper.make_node("Cast", ["x"], ["v"], "cast"), helper.make_node("Cast", ["v"], ["y"], "c")],
            value_info=[value],
        )
    )
    assert nodes["cast"].attr["dtype"].type == types_pb2.DataType.Value(tf_type)
    assert nodes["cast"].attr["outputs"].s == f"{onnx_type.lower()}[2]".encode()


def test_equal_names_and_names_of_scopes_are_distinguished() -> None:
    nodes = draw(
        model_of(
            [
                in_scopes(helper.make_node("Relu", ["x"], ["a"]), "", "y", "y.act", "relu"),
                in_scopes(helper.make_node("Relu", ["a"], ["b"]), "", "y", "y.act", "relu_1"),
                in_scopes(helper.make_node("Relu", ["b"], ["c"]), "", "x", "relu_2"),
                in_scopes(helper.make_node("Neg", ["c"], ["y"]), "_empty_nn_module_stack_from_metadata_hook", "neg"),
            ]
        )
    )
    assert set(nodes) == {"x_1", "y/act/Relu", "y/act/Relu_1", "x/Relu", "Neg", "y_1"}
    assert list(nodes["y/act/Relu"].input) == ["x_1"]


def test_nodes_without_metadata_are_placed_by_their_names() -> None:
    nodes = draw(
        model_of(
            [
                helper.make_node("Relu", ["x"], ["a"], "/net/net.0/net.0.1/Relu"),
                helper.make_node("Relu", ["a"], ["b"], "/net/net.1_1/Relu"),
                helper.make_node("Relu", ["b"], ["c"], "Identity_6"),
                helper.make_node("Split", ["c"], ["d", "e"], num_outputs=2),
                helper.make_node("Gelu", ["e", ""], ["y"], "odd:name^", domain="com.microsoft"),
            ],
            outputs=["y", "d"],
        )
    )
    assert set(nodes) == {"x", "net/0/1/Relu", "net/1_1/Relu", "Identity_6", "Split", "odd_name_", "y", "d"}
    assert list(nodes["odd_name_"].input) == ["Split:1"]
    assert nodes["odd_name_"].op == "com.microsoft.Gelu"
    assert list(nodes["d"].input) == ["Split"]


def test_weights_are_placed_by_name_or_first_user() -> None:
    def tensor(name: str) -> Any:
        return helper.make_tensor(name, TensorProto.FLOAT, [1], [1.0])

    nodes = draw(
        model_of(
            [
                in_scopes(helper.make_node("Sum", ["x", "val_1", "embed.weight"], ["a"]), "", "layer", "sum"),
                in_scopes(helper.make_node("Sum", ["a", "val_1", "onnx::Mul_3"], ["y"]), "", "other", "sum_1"),
            ],
            initializer=[tensor(name) for name in ("val_1", "embed.weight", "onnx::Mul_3", "unused")],
        )
    )
    constants = {name for name, node in nodes.items() if node.op == "Const"}
    assert constants == {"layer/val_1", "embed/weight", "other/onnx__Mul_3", "unused"}


def test_weights_that_are_inputs_as_well_are_drawn_once() -> None:
    model = model_of(
        [helper.make_node("Add", ["x", "w"], ["y"], "add")],
        initializer=[helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])],
    )
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    assert {name: node.op for name, node in draw(model).items()} == {
        "x": "Placeholder",
        "w": "Const",
        "add": "Add",
        "y": "Output",
    }


def test_bodies_are_drawn_inside_the_module() -> None:
    result = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
    branches = {
        f"{name}_branch": helper.make_graph([helper.make_node(op, ["x"], ["r"])], name, [], [result])
        for name, op in (("then", "Neg"), ("else", "Abs"))
    }
    condition = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    nodes = draw(
        model_of(
            [in_scopes(helper.make_node("If", ["c"], ["y"], **branches), "", "sub", "cond")], initializer=[condition]
        )
    )
    assert list(nodes["sub/If_then_branch/Neg"].input) == ["x"]
    assert list(nodes["sub/If_else_branch/Abs"].input) == ["x"]
    assert list(nodes["sub/If_else_branch/r"].input) == ["sub/If_else_branch/Abs"]


@pytest.mark.slow
def test_large_graphs_take_seconds_at_most() -> None:
    count = 20_000
    names = ["x", *(f"v{i}" for i in range(count - 1)), "y"]
    chain = [
        in_scopes(helper.make_node("Relu", [names[i]], [names[i + 1]], f"n{i}"), "", f"layers.{i % 50}", "relu")
        for i in range(count)
    ]
    model = model_of(chain)
    start = time.perf_counter()
    nodes = graph_def(model).node
    assert time.perf_counter() - start < 10
    assert len(nodes) == count + 2
    assert len({node.name for node in nodes}) == count + 2
