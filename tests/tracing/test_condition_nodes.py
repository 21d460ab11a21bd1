"""ONNX nodes of a condition give what the condition gives."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from lightning_onnx.tracing.condition_nodes import nodes_of
from lightning_onnx.tracing.conditions import SizeCondition

DIMS = (("batch", "batch"), ("length", "length"))


@pytest.mark.parametrize(
    "expression",
    [
        "length % 4 != 3",
        "batch <= length",
        "batch * length >= 12",
        "length == batch",
        "-length // 4 > -3",
        "(length - 3) // 2 != -1",
        "-length % 3 < 2",
        "Max(batch, 3) + 1 < Min(length, 6)",
    ],
)
def test_nodes_of_a_condition(expression: str) -> None:
    condition = SizeCondition(expression, DIMS)
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["batch", "length"]))
    nodes = nodes_of(condition, [x], {"batch": (0, 0), "length": (0, 1)}, "piece_")
    found = nodes[-1].outputs[0]
    found.type, found.shape = ir.TensorType(ir.DataType.BOOL), ir.Shape([])
    graph = ir.Graph([x], [found], nodes=nodes, opset_imports={"": 18}, name="condition")
    session = ReferenceEvaluator(ir.to_proto(ir.Model(graph, ir_version=10)))
    for batch in (1, 2, 3, 7):
        for length in range(1, 12):
            (got,) = session.run(None, {"x": np.zeros((batch, length), np.float32)})
            assert bool(got) == condition.holds({"batch": batch, "length": length}), (batch, length)
