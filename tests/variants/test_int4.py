"""What onnxruntime's quantizer makes of large matrices, read back from the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from lightning_onnx import ConfigurationError, Int4, ONNXExport
from lightning_onnx.manifest.results import VariantRecord
from lightning_onnx.variants import judging
from tests.variants.conftest import run


class Mixed(nn.Module):
    """Large and small matrices, with and without bias, on matrices and on sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Linear(64, 256)
        self.narrow = nn.Linear(256, 64, bias=False)
        self.table = nn.Parameter(torch.randn(256, 64))
        self.pooled = nn.Linear(64, 256)
        self.small = nn.Linear(256, 8)

    def forward(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.narrow(self.steps(steps).relu())
        pooled = self.pooled(hidden.mean(1)).relu()
        return self.small(pooled), pooled @ self.table


def made(context: Any, variant: Int4) -> VariantRecord:
    (found,) = judging.make([variant], context)
    return found.record


@pytest.mark.slow
def test_large_matrices_are_quantized_and_no_others(staged: Any) -> None:
    torch.manual_seed(0)
    module, x = Mixed().eval(), torch.randn(2, 5, 64)
    context = staged(module, x)
    was = context.model_path.read_bytes()
    entry = made(context, Int4())
    assert entry.status == "passed", entry.reason
    assert entry.notes == ("4 matrices of 4-bit weights in blocks of 32",)
    path = context.model_path.with_name("model.int4.onnx")
    model = onnx.load(path)
    quantized = [n for n in model.graph.node if n.op_type == "MatMulNBits"]
    of = [{a.name: onnx.helper.get_attribute_value(a) for a in n.attribute} for n in quantized]
    assert sorted((a["K"], a["N"], a["bits"], a["block_size"]) for a in of) == [
        (64, 256, 4, 32), (64, 256, 4, 32), (256, 64, 4, 32), (256, 64, 4, 32)
    ]  # fmt: skip
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert (8, 256) in {tuple(t.dims) for t in floats} | {tuple(t.dims)[::-1] for t in floats}  # the small one stays
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert {stored[n.input[1]].dtype.name for n in quantized} == {"uint8"}
    assert path.stat().st_size < 0.3 * len(was)
    other = torch.randn(3, 5, 64)
    with torch.no_grad():
        expected = module(other)
    for got, wanted in zip(run(path, {"steps": other.numpy()}), expected, strict=True):
        assert 1e-4 < np.abs(got - wanted.numpy()).max() / wanted.abs().max() < 0.2

    symmetric = made(context, Int4(symmetric=True, block_size=64, name="other"))
    assert symmetric.status == "passed", symmetric.reason
    model = onnx.load(context.model_path.with_name("model.other.onnx"))
    assert {len(n.input) for n in model.graph.node if n.op_type == "MatMulNBits"} == {3}  # no zero points

    strict = made(context, Int4(max_difference=1e-4, name="strict"))
    assert strict.status == "failed"
    assert "are outside the tolerance" in (strict.reason or "")
    assert context.model_path.read_bytes() == was


@pytest.mark.slow
def test_a_model_without_large_matrices_is_skipped(staged: Any) -> None:
    context = staged(nn.Linear(4, 3).eval(), torch.randn(2, 4))
    entry = made(context, Int4())
    assert (entry.status, entry.file) == ("skipped", None)
    assert entry.reason == (
        "no matrix product has a constant matrix of 16384 weights or more, so int4 would save nothing"
    )
    assert not context.model_path.with_name("model.int4.onnx").exists()


def test_it_can_be_given_by_name() -> None:
    assert list(ONNXExport(variants=["int4", Int4(name="b")]).config.variants) == [Int4(), Int4(name="b")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_size": 48}, r"Int4\(block_size=48\) is invalid\. Choose one of 16, 32, 64, 128, 256\."),
        ({"min_weights": 0}, r"Int4\(min_weights=0\) is invalid\. Give a number of 1"),
        ({"max_difference": "small"}, "max_difference='small'"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Int4(**options)
