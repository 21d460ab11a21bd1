from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split

from tests import outside

from .running import run

pytestmark = pytest.mark.slow


def test_the_exported_graph_is_the_one_built_by_hand(tmp_path: Path) -> None:
    output = run("linear_regression.py", "--root", tmp_path, cwd=tmp_path)
    (exported,) = tmp_path.rglob("model.onnx")
    for path in (exported, tmp_path / "by_hand.onnx"):
        graph = onnx.load(path).graph
        multiply, add = graph.node
        assert (multiply.op_type, list(multiply.input)) == ("MatMul", ["X", "A"])
        assert (add.op_type, list(add.input)) == ("Add", [multiply.output[0], "B"])
        assert outside.shapes(path) == {"X": ["batch", 10], "Y": ["batch", 1]}
        assert sorted(t.name for t in graph.initializer) == ["A", "B"]

    data = load_diabetes()
    x, test_x, y, _ = train_test_split(*(v.astype(np.float32) for v in (data.data, data.target)), random_state=0)
    expected = LinearRegression().fit(x, y).predict(test_x)[:, None]
    (found,) = outside.run(exported, X=test_x)
    (built,) = outside.run(tmp_path / "by_hand.onnx", X=test_x)
    np.testing.assert_array_equal(found, built)
    np.testing.assert_allclose(found, expected, rtol=1e-2)
    assert output.count(": True") == 3
    assert len({line.split()[-1][:6] for line in output.splitlines() if " R2 " in line}) == 1
