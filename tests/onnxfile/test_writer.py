"""A template is written with weights: with the dtypes of the graph, and large weights in a second file."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from lightning_onnx.errors import ONNXExportError, WeightsError
from lightning_onnx.onnxfile import writer
from lightning_onnx.onnxfile.recipes import Plain, Transposed
from lightning_onnx.onnxfile.writer import Template


def template(dtype: ir.DataType = ir.DataType.FLOAT) -> Template:
    """``y = x + weight`` and a second weight, which is the first transposed."""
    values = {name: ir.Value(name=name, type=ir.TensorType(dtype)) for name in ("weight", "turned")}
    x, y = (ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([2, 3])) for name in "xy")
    add = ir.Node("", "Add", [x, values["weight"]], outputs=[y])
    graph = ir.Graph([x], [y], nodes=[add], initializers=list(values.values()), opset_imports={"": 18}, name="g")
    recipes = {values["weight"]: Plain("w"), values["turned"]: Transposed(Plain("w"), (1, 0))}
    return Template.of(ir.Model(graph, ir_version=8), recipes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_, ml_dtypes.bfloat16, np.complex64])
def test_values_are_read_back(dtype: type[np.generic], tmp_path: Path) -> None:
    weight = np.arange(6).reshape(2, 3).astype(dtype)
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    for state in (weight, np.asfortranarray(weight)):
        described = template(kind).write({"w": state}, {"key": "value"}, tmp_path / "model.onnx")
        model = onnx.load(tmp_path / "model.onnx")
        found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        np.testing.assert_array_equal(found["weight"], weight)
        np.testing.assert_array_equal(found["turned"], weight.T)
        assert {entry.key: entry.value for entry in model.metadata_props} == {"key": "value"}
        assert [list(tensor.dims) for tensor in described.graph.initializer] == [[2, 3], [3, 2]]
        assert not any(tensor.raw_data for tensor in described.graph.initializer)


def test_large_weights_are_next_to_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SINGLE_FILE_BYTES", 16)
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    template().write({"w": weight}, {}, tmp_path / "model.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    model = onnx.load(tmp_path / "model.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[1]), weight.T)
    entries = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.initializer
    offsets = [int(e.value) for tensor in entries for e in tensor.external_data if e.key == "offset"]
    assert [offset % 4096 for offset in offsets] == [0, 0]


def test_weights_of_another_dtype_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weight 'weight' is float64.*traced with float32") as caught:
        template().write({"w": np.zeros((2, 3))}, {}, tmp_path / "model.onnx")
    assert isinstance(caught.value, ONNXExportError)
