"""The inputs of a file are read without its weights, with the same result as onnx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lightning_onnx.errors import InputError
from lightning_onnx.onnxfile.specs import ModelSpecs


def written(path: Path, *, ir_version: int = 8) -> Path:
    """An addition whose second input has a default, with strings, dims without a name, and a sequence."""
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["n", None, 3]),
        helper.make_tensor_value_info("w", TensorProto.BFLOAT16, [3]),
        helper.make_tensor_value_info("s", TensorProto.STRING, [1]),
        helper.make_tensor_sequence_value_info("q", TensorProto.FLOAT, None),
        helper.make_tensor_value_info("any", TensorProto.INT64, None),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["n", None, 3])]
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [3], [1.0, 2.0, 3.0])
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", inputs, outputs, [weight])
    onnx.save(helper.make_model(graph, ir_version=ir_version), path)
    return path


def test_reads_the_same_as_onnx(tmp_path: Path) -> None:
    specs = ModelSpecs.read(written(tmp_path / "m.onnx"))
    assert [(s.name, s.dtype, s.shape, s.optional) for s in specs.inputs] == [
        ("x", "bfloat16", ("n", None, 3), False),
        ("w", "bfloat16", (3,), True),
        ("s", None, (1,), False) if specs.inputs[2].shape else ("s", None, None, False),
        ("q", None, None, False),
        ("any", "int64", None, False),
    ]
    assert [s.name for s in specs.outputs] == ["y"]
    assert specs.batch == "n"


def test_optional_inputs_and_scalars(tmp_path: Path) -> None:
    import ml_dtypes

    specs = ModelSpecs.read(written(tmp_path / "m.onnx"))
    good = {
        "x": np.zeros((2, 5, 3), ml_dtypes.bfloat16),
        "s": np.array(["a"], object),
        "q": [np.zeros(2)],
        "any": np.array(3),
    }
    assert specs.checked(good)["any"].shape == ()
    with pytest.raises(
        InputError, match=r"'w' has the shape \[4\], the file takes bfloat16\[\d\]: dim 0 has to be \d, not 4"
    ):
        specs.checked({**good, "w": np.zeros(4, ml_dtypes.bfloat16)})
    with pytest.raises(InputError, match="'any' is >i8"):
        specs.checked({**good, "any": np.array(3, ">i8")})


def test_weights_are_not_read(tmp_path: Path) -> None:
    model = onnx.load(written(tmp_path / "m.onnx"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2**22, np.float32), "large"))
    path = tmp_path / "large.onnx"
    onnx.save(model, path)
    import tracemalloc

    ModelSpecs.read(path)
    tracemalloc.start()
    specs = ModelSpecs.read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert specs.inputs[0].name == "x"
    assert peak < 2**20  # bytes, of a file of 16 MiB


def test_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("no model at all")
    with pytest.raises(InputError, match="is not an ONNX model"):
        ModelSpecs.read(path)
