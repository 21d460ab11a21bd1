from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lightning_onnx.errors import InputError
from lightning_onnx.onnxfile.validity import check_model, without_large_weights

ROWS = 200


def saved(path: Path, weight: TensorProto, node: onnx.NodeProto | None = None) -> Path:
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, ROWS])
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["rows"]),
        node or helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, ROWS // 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 300])
    graph = helper.make_graph(nodes, "g", [x], [y], [weight, shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(path))
    return path


def weight(values: NDArray[np.generic], dims: tuple[int, ...] | None = None) -> TensorProto:
    made = onnx.numpy_helper.from_array(values, "w")
    if dims is not None:
        del made.dims[:]
        made.dims.extend(dims)
    return made


def test_a_valid_file_is_valid_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.onnx", weight(np.ones((ROWS, 300), np.float32)))
    check_model(path)
    assert list(tmp_path.iterdir()) == [path]


def test_large_weights_are_references_to_their_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((ROWS, 300), np.float32)
    path = saved(tmp_path / "model.onnx", weight(values))
    model = without_large_weights(path)
    assert model.ByteSize() < 2_000 < values.nbytes
    onnx.load_external_data_for_model(model, str(tmp_path))
    by_name = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert np.array_equal(by_name["w"], values)
    assert by_name["shape"].tolist() == [-1, ROWS]


@pytest.mark.parametrize("check", [check_model, lambda path: onnx.checker.check_model(str(path), full_check=True)])
@pytest.mark.parametrize(
    ("values", "dims", "node"),
    [
        (np.ones((ROWS, 300), np.float32), (ROWS, 301), None),  # too few values
        (np.ones((ROWS + 1, 300), np.float32), None, None),  # shapes that do not fit
        (np.ones((ROWS, 300), np.float64), None, None),  # other dtypes
        (np.ones((ROWS, 300), np.float32), None, helper.make_node("MatMull", ["rows", "w"], ["y"])),
        (np.ones((ROWS, 300), np.float32), None, helper.make_node("MatMul", ["rows", "nothing"], ["y"])),
    ],
)
def test_what_onnx_finds_is_found(tmp_path: Path, check: object, values, dims, node) -> None:  # type: ignore[no-untyped-def]
    path = saved(tmp_path / "model.onnx", weight(values, dims), node)
    with pytest.raises((onnx.checker.ValidationError, onnx.shape_inference.InferenceError)):
        check(path)  # type: ignore[operator]


def test_values_that_are_not_raw_are_kept(tmp_path: Path) -> None:
    made = helper.make_tensor("w", TensorProto.FLOAT, (ROWS, 300), np.ones(ROWS * 300, np.float32).tolist())
    path = saved(tmp_path / "model.onnx", made)
    assert len(without_large_weights(path).graph.initializer[0].float_data) == ROWS * 300
    check_model(path)


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.onnx", weight(np.ones((ROWS, 300), np.float32)))
    model = onnx.load(str(path))
    onnx.save(model, str(path), save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    check_model(path)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(onnx.checker.ValidationError):
        check_model(path)


def test_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="not an ONNX model"):
        check_model(path)
