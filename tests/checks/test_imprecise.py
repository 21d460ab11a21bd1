from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from lightning_onnx import Parity, export
from lightning_onnx.checks import parity
from lightning_onnx.checks.base import CheckResult
from lightning_onnx.checks.imprecise import imprecise_operators


def saved(path: Path, operator: str, length: int | str, **attributes: int) -> Path:
    """Two outputs, only one of which is normalized."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, length])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, length]) for name in ("y", "z")]
    nodes = [
        helper.make_node("Relu", ["x"], ["z"]),
        helper.make_node(operator, ["z", "scale", "bias"], ["n"], **attributes),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    weights = [helper.make_tensor(name, TensorProto.FLOAT, [2], [1, 1]) for name in ("scale", "bias")]
    graph = helper.make_graph(nodes, "g", [x], values, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), str(path))
    return path


@pytest.mark.parametrize("operator", ["LayerNormalization", "InstanceNormalization"])
def test_many_elements_are_told_for_the_outputs_that_depend_on_them(operator: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "model.onnx", operator, 200_000)
    told = imprecise_operators(path, ["y", "z"], {"batch": 3})
    assert told is not None
    assert told.startswith(f"onnxruntime computes {operator} over 200,000 elements")
    assert imprecise_operators(path, ["z"], {"batch": 3}) is None


def test_axes_and_dynamic_dims_count(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.onnx", "LayerNormalization", "length", axis=1)
    assert "over 120,000 elements" in str(imprecise_operators(path, ["y"], {"batch": 1, "length": 60_000}))
    assert imprecise_operators(path, ["y"], {"batch": 1000, "length": 1000}) is None
    assert imprecise_operators(path, ["y"], {}) is None
    assert imprecise_operators(saved(path, "Relu", 200_000), ["y"], {}) is None


@pytest.mark.slow
def test_the_reason_of_parity_tells_them_where_a_tolerance_is_needed(tmp_path: Path) -> None:
    net, x = nn.LayerNorm(300_000), torch.randn(2, 300_000)
    strict = export(net, x, directory=tmp_path / "strict", checks=[Parity(rtol=1e-6, atol=5e-7)]).manifest["checks"][0]
    assert strict["status"] == "passed"
    assert "LayerNormalization over 300,000 elements" in strict["reason"]
    usual = export(net, x, directory=tmp_path / "usual").manifest["checks"][0]
    assert usual["reason"] is None


def test_without_another_reason_the_operators_are_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "imprecise_operators", lambda *_: "onnxruntime computes less precisely")
    context: Any = SimpleNamespace(
        runtime=SimpleNamespace(name="onnxruntime"), cases=(), signature=None, model_path=Path("model.onnx")
    )
    for reason, told in ((None, "onnxruntime computes"), ("it is noise", "it is noise; onnxruntime computes")):
        result = parity._with_imprecise_operators(CheckResult("parity", "passed", reason), (), context)
        assert str(result.reason).startswith(told)
