from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lightning_onnx.errors import InputError
from lightning_onnx.onnxfile.part import extract, operators_after, with_all_values
from tests import outside


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Computes y = relu(x) + 1, z = y * w."""
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("Add", ["positive", "one"], ["y"]),
        helper.make_node("Mul", ["y", "two"], ["z"]),
    ]
    weights = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("one", 1.0), ("two", 2.0))]
    x, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in "xz")
    path = tmp_path / "model.onnx"
    graph = helper.make_graph(nodes, "g", [x], [z], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


X = np.array([[-1.0, 2.0]], np.float32)


def test_a_part_runs_by_itself(model: Path, tmp_path: Path) -> None:
    extract(model, ["positive"], ["y"], tmp_path / "part.onnx")
    (got,) = outside.run(tmp_path / "part.onnx", positive=X)
    np.testing.assert_array_equal(got, X + 1)


@pytest.mark.parametrize(("inputs", "outputs"), [(["none"], ["y"]), (["positive"], ["none"])])
def test_values_that_do_not_exist(inputs: list[str], outputs: list[str], model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.onnx has no part from .*: no value is named none"):
        extract(model, inputs, outputs, tmp_path / "part.onnx")


def test_a_part_that_needs_another_input(model: Path, tmp_path: Path) -> None:
    loaded = onnx.load(model)
    loaded.graph.node[2].input[1] = "x"
    onnx.save(loaded, model)
    with pytest.raises(InputError, match="also needs the value x, for Mul"):
        extract(model, ["positive"], ["z"], tmp_path / "part.onnx")


def test_a_part_with_a_condition_that_takes_a_value_from_before(model: Path, tmp_path: Path) -> None:
    loaded = onnx.load(model)
    bodies = [
        helper.make_graph(
            [helper.make_node("Identity", [taken], [f"branch_{taken}"])],
            taken,
            [],
            [helper.make_tensor_value_info(f"branch_{taken}", TensorProto.FLOAT, ["batch", 2])],
        )
        for taken in ("x", "y")
    ]
    nodes = [
        helper.make_node("ReduceMax", ["y"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "one"], ["is_large"]),
        helper.make_node("If", ["is_large"], ["z"], then_branch=bodies[0], else_branch=bodies[1]),
    ]
    del loaded.graph.node[2]
    loaded.graph.node.extend(nodes)
    onnx.save(loaded, model)
    with pytest.raises(InputError, match="also needs the value x, for Identity"):
        extract(model, ["positive"], ["z"], tmp_path / "part.onnx")


@pytest.mark.parametrize(
    ("values", "operators"),
    [(["positive"], ("Add", "Mul")), (["y"], ("Mul",)), (["positive", "y"], ("Mul",)), (["z"], ())],
)
def test_operators_after_values(values: list[str], operators: tuple[str, ...], model: Path) -> None:
    assert operators_after(model, values) == operators


def test_all_values_are_returned_in_their_order(model: Path, tmp_path: Path) -> None:
    assert with_all_values(model, tmp_path / "all.onnx") == ("positive", "y", "z")
    positive, y, z = outside.run(tmp_path / "all.onnx", x=X)
    np.testing.assert_array_equal(positive, X.clip(0))
    np.testing.assert_array_equal(y + y, z)
