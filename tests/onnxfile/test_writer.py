"""A template is written with weights: with the dtypes of the graph, and large weights in a second file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from lightning_onnx.errors import ONNXExportError, WeightsError
from lightning_onnx.onnxfile import writer
from lightning_onnx.onnxfile.recipes import Array, Plain, State, Transposed
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
        described = template(kind).write({"w": state}, {"key": "value"}, tmp_path / "model.onnx").model
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
    written = template().write({"w": weight}, {}, tmp_path / "model.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
    for name, file in written.files.items():
        content = (tmp_path / name).read_bytes()
        assert (file.sha256, file.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    model = onnx.load(tmp_path / "model.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[1]), weight.T)
    entries = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.initializer
    offsets = [int(e.value) for tensor in entries for e in tensor.external_data if e.key == "offset"]
    assert [offset % 4096 for offset in offsets] == [0, 0]


def test_weights_of_another_dtype_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weight 'weight' is float64.*traced with float32") as caught:
        template().write({"w": np.zeros((2, 3))}, {}, tmp_path / "model.onnx")
    assert isinstance(caught.value, ONNXExportError)


def test_only_the_ir_version_is_lowered(tmp_path: Path) -> None:
    contents = []
    for highest in (None, 8, 7):
        written = template().write({"w": np.zeros((2, 3), np.float32)}, {}, tmp_path / "model.onnx", highest)
        contents.append((tmp_path / "model.onnx").read_bytes())
        assert onnx.load(tmp_path / "model.onnx").ir_version == written.model.ir_version == (highest or 8)
    assert contents[0] == contents[1]
    assert [i for i, (a, b) in enumerate(zip(contents[0], contents[2], strict=True)) if a != b] == [1]


def test_one_computed_weight_is_in_memory_at_a_time(tmp_path: Path) -> None:
    alive, most = 0, 0

    class Counted(np.ndarray[Any, Any]):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    class Computed:
        def __call__(self, state: State) -> Array:
            nonlocal alive, most
            alive, most = alive + 1, max(most, alive + 1)
            return np.zeros((2, 3), np.float32).view(Counted)

        def like(self, state: State) -> Array:
            return np.empty((2, 3), np.float32)

    protos = [onnx.TensorProto(name=str(number), data_type=1) for number in range(9)]
    Template(onnx.ModelProto(), b"", tuple((p, Computed()) for p in protos)).write({}, {}, tmp_path / "model.onnx")
    assert most <= 2
