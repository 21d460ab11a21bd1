"""Weights are compared by name, constants by value."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from lightning_onnx.checks.weights_diff import WeightsDiff, compare_weights


def model(**values: ArrayLike) -> onnx.ModelProto:
    tensors = [
        numpy_helper.from_array(np.asarray(value, np.float32), name.replace("__", "."))
        for name, value in values.items()
    ]
    return helper.make_model(helper.make_graph([], "graph", [], [], tensors))


def test_constants_are_compared_by_value_whatever_their_number() -> None:
    first = model(val_21=[1, 2], val_7=[3], body__weight=[[1, 2]])
    assert compare_weights(first, model(val_22=[1, 2], view_3=[3], body__weight=[[1, 2]])) == WeightsDiff({}, 1, 2, 0)
    assert compare_weights(first, model(val_21=[1, 3], val_7=[3], body__weight=[[1, 2]])) == WeightsDiff({}, 1, 1, 1)
    assert compare_weights(first, model(val_21=[[1, 2]], body__weight=[[1, 2]])).constants_changed == 2


def test_weights_are_compared_by_name() -> None:
    first = model(body__weight=[3, 4], scale=[1], gone__bias=[0])
    found = compare_weights(first, model(body__weight=[3, 9], scale=[1], new__bias=[0]))
    assert found == WeightsDiff({"gone": float("inf"), "new": float("inf"), "body": 1.0}, 2, 0, 0)
