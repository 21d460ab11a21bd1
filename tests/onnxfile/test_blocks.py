"""The large parts of a graph, against graphs that are written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import pytest
from onnx import TensorProto, helper

from lightning_onnx.onnxfile.blocks import blocks
from lightning_onnx.onnxfile.graph_summary import Block

Node = tuple[str, str, Sequence[str], str]
"""Module, operator, the values that it takes, the value that it returns."""


def graph(nodes: Sequence[Node], outputs: Sequence[str], inputs: Sequence[str] = ("x",)) -> onnx.ModelProto:
    """A model whose nodes are named as the older exporter does: ``/module/Operator``."""
    made = []
    for module, kind, taken, returned in nodes:
        parts = module.split(".") if module else []
        scopes = "/".join(".".join(parts[: i + 1]) if i else part for i, part in enumerate(parts))
        made.append(helper.make_node(kind, list(taken), [returned], name=f"/{scopes}/{kind}".replace("//", "/")))
    sized = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in (*inputs, *outputs)]
    body = helper.make_graph(made, "g", sized[: len(inputs)], sized[len(inputs) :])
    return helper.make_model(body)


def found(
    nodes: Sequence[Node], classes: Mapping[str, str] | None = None, most: int = 12
) -> list[tuple[str, tuple[int, ...]]]:
    return [(block.label, block.sources) for block in blocks(graph(nodes, ["y"]), classes or {}, most)]


def test_a_chain_with_an_operator_of_no_module() -> None:
    model = graph([("a", "Relu", ["x"], "h"), ("", "Add", ["h", "x"], "i"), ("b", "Tanh", ["i"], "y")], ["y"])
    assert blocks(model, {"a": "ReLU"}) == (
        Block("a", "ReLU", 1, None, (-1,)),
        Block("Add", None, 1, None, (-1, 0)),
        Block("b", None, 1, ("batch", 4), (1,)),
    )


def test_a_module_that_runs_twice_is_two_blocks_so_that_no_value_flows_back() -> None:
    nodes = [("a", "Relu", ["x"], "h"), ("b", "Tanh", ["h"], "i"), ("a", "Relu", ["i"], "y")]
    assert found(nodes) == [("a", (-1,)), ("b", (0,)), ("a", (1,))]


def test_what_is_computed_from_sizes_alone_is_left_out() -> None:
    nodes = [
        ("a", "Relu", ["x"], "h"),
        ("", "Shape", ["h"], "s"),
        ("", "Gather", ["s", "s"], "n"),
        ("b", "Reshape", ["h", "n"], "y"),
    ]
    assert found(nodes) == [("a", (-1,)), ("b", (0,))]


def test_few_modules_are_split_up_with_all_of_their_class() -> None:
    nodes = [
        ("user.0", "Relu", ["x"], "a"),
        ("user.1", "Tanh", ["a"], "b"),
        ("item.0", "Relu", ["x"], "c"),
        ("item.1", "Tanh", ["c"], "d"),
        ("head", "Add", ["b", "d"], "y"),
    ]
    split = [("user.0", (-1,)), ("user.1", (0,)), ("item.0", (-1,)), ("item.1", (2,)), ("head", (1, 3))]
    assert found(nodes, classes={"user": "Tower", "item": "Tower"}) == split
    assert [label for label, _ in found(nodes, classes={"user": "Tower", "item": "Tower"}, most=4)] == [
        "user", "item", "head",
    ]  # fmt: skip


@pytest.mark.parametrize("layers", [5, 13, 300])
def test_there_are_never_too_many(layers: int) -> None:
    values = ["x", *(f"h{i}" for i in range(1, layers)), "y"]
    nodes = [(f"layers.{i}", "Relu", [values[i]], values[i + 1]) for i in range(layers)]
    made = found(nodes, classes={f"layers.{i}": "Layer" for i in range(layers)})
    assert len(made) == min(layers, 12)
    assert [sources for _, sources in made] == [(place - 1,) for place in range(len(made))]
    assert made[0][0].startswith("layers.0")
    assert made[-1][0].endswith(f"layers.{layers - 1}")


def test_a_body_may_take_what_is_around_it() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["h"], ["inner"])], "then", [], [helper.make_empty_tensor_value_info("inner")]
    )
    model = graph([("a", "Relu", ["x"], "h"), ("b", "Tanh", ["x"], "c")], ["y"])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], name="/cond/If", then_branch=body, else_branch=body))
    assert blocks(model, {})[-1].sources == (0, 1)
