from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lightning_onnx.errors import InputError
from lightning_onnx.onnxfile.part import extract
from tests import outside


def model(path: Path, dims: list[str | int], **limits: int) -> Path:
    """Computes y = relu(x) with the dims given, and z = y summed over all dims but the batch, in the shape of x."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"], **limits),
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("ReduceMax", ["y"], ["top"]),
        helper.make_node("Expand", ["top", "sizes"], ["z"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "width"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, dims)
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [z], [], value_info=[y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("limits", "shape"),
    [({}, (3, 5)), ({"end": 1}, (1, 3)), ({"start": 1}, (1, 5)), ({"start": -2, "end": -1}, (1, 3))],
)
def test_sizes_before_the_part_are_those_of_its_inputs(
    limits: dict[str, int], shape: tuple[int, int], tmp_path: Path
) -> None:
    extract(model(tmp_path / "m.onnx", ["batch", "width"], **limits), ["y"], ["z"], tmp_path / "part.onnx")
    assert [value.name for value in onnx.load(tmp_path / "part.onnx").graph.input] == ["y"]
    (got,) = outside.run(tmp_path / "part.onnx", y=np.ones((3, 5), np.float32))
    np.testing.assert_array_equal(got, np.ones(shape[-len(got.shape) :], np.float32))


def test_a_fixed_size_is_a_constant(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", ["batch", 2])
    loaded = onnx.load(path)
    loaded.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2
    onnx.save(loaded, path)
    extract(path, ["y"], ["z"], tmp_path / "part.onnx")
    (got,) = outside.run(tmp_path / "part.onnx", y=np.ones((3, 2), np.float32))
    np.testing.assert_array_equal(got, np.ones((3, 2), np.float32))


@pytest.mark.parametrize("dims", [["batch", "other"], ["batch", ""]])
def test_a_size_that_the_inputs_do_not_have(dims: list[str | int], tmp_path: Path) -> None:
    """A resize between the two: no input of the part tells the raw width."""
    path = model(tmp_path / "m.onnx", dims)
    loaded = onnx.load(path)
    loaded.graph.node[1].CopyFrom(helper.make_node("Resized", ["x"], ["y"], domain="own"))
    loaded.opset_import.append(helper.make_opsetid("own", 1))
    onnx.save(loaded, path)
    with pytest.raises(InputError, match="from y to z also needs the value x, for Shape"):
        extract(path, ["y"], ["z"], tmp_path / "part.onnx")
