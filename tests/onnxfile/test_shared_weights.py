"""A file of weights for several models: equal values once, small ones in the models, sizes that add up."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from lightning_onnx.onnxfile.recipes import Plain, Recipe
from lightning_onnx.onnxfile.shared_weights import ALIGNMENT, SHARED, SharedWeights, size_of
from lightning_onnx.onnxfile.writer import Template
from tests import outside


def template(*weights: str) -> Template:
    """A graph that adds weights to its input."""
    nodes = [helper.make_node("Add", ["x" if i == 0 else f"y{i}", w], [f"y{i + 1}"]) for i, w in enumerate(weights)]
    tensors = [numpy_helper.from_array(np.zeros(_size(weight), "f"), weight) for weight in weights]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])
    last = helper.make_tensor_value_info(f"y{len(weights)}", TensorProto.FLOAT, ["n", _size(weights[-1])])
    graph = helper.make_graph(nodes, "g", [value], [last], tensors)
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
    recipes: dict[ir.Value, Recipe] = {v: Plain(str(name)) for name, v in model.graph.initializers.items()}
    return Template.of(model, recipes)


def _size(weight: str) -> int:
    return 4 if weight == "small" else 1000


def test_equal_weights_are_stored_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state = {name: rng.normal(size=_size(name)).astype("f") for name in ("a", "b", "c")} | {"same": np.zeros(0, "f")}
    state["same"] = state["a"].copy()
    with SharedWeights(tmp_path) as shared:
        template("a", "b").write(state, {}, tmp_path / "first.onnx", shared=shared)
        template("same", "c").write(state, {}, tmp_path / "second.onnx", shared=shared)
    content = (tmp_path / SHARED).read_bytes()
    assert len(content) == 2 * ALIGNMENT + 4000  # a, b and c, each at a page of its own
    assert (shared.written.bytes, shared.written.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    x = np.ones((2, 1), "f")
    for name, expected in (("first", state["a"] + state["b"]), ("second", state["a"] + state["c"])):
        model = tmp_path / f"{name}.onnx"
        np.testing.assert_allclose(outside.run(model, x=x)[0], [expected + 1] * 2, atol=1e-5)
        assert size_of(model) == model.stat().st_size + 8000


def test_small_weights_stay_in_the_model(tmp_path: Path) -> None:
    with SharedWeights(tmp_path) as shared:
        template("small").write({"small": np.arange(4, dtype="f")}, {}, tmp_path / "model.onnx", shared=shared)
    (tensor,) = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.initializer
    assert not tensor.external_data
    assert shared.written.bytes == 0
    assert size_of(tmp_path / "model.onnx") == (tmp_path / "model.onnx").stat().st_size
