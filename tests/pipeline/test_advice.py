"""An option is advised only if it helped when tried."""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import EngineError, Parity, ParityError, export
from lightning_onnx.errors import NotReadyError
from lightning_onnx.pipeline import advice

OPTIONS = re.compile(r"(?:engine|opset_version|dynamic_axes|preflight|checks|sample)=")


def advised(error: Exception) -> list[str]:
    """Return the options that a message names."""
    return OPTIONS.findall(str(error))


def tanh(change: Callable[[Any, Any, Any], Any]) -> dict[str, Any]:
    """Return options with another translation of ``tanh``; ``change`` gets the operators, the input and the result."""
    from onnxscript import opset20 as op

    def translated(x: Any) -> Any:
        return change(op, x, op.Tanh(x))

    table = {torch.ops.aten.tanh.default: translated}
    return {"engine": "dynamo", "export_options": {"custom_translation_table": table}}


class Enlarges(nn.Module):
    """Enlarges each image with its own kernel, as a group: the number of groups is an attribute of the operator."""

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        kernels = x.mean((1, 2, 3)).reshape(batch, 1, 1, 1).expand(batch, 2, 2, 2)
        rows = nn.functional.conv_transpose2d(x.reshape(1, batch, 4, 4), kernels, stride=2, groups=batch)
        return rows.reshape(batch, 2, 8, 8)


@pytest.mark.slow
def test_static_dims(tmp_path: Path) -> None:
    axes = {"x": {0: "batch"}}
    x = torch.randn(2, 1, 4, 4)
    with pytest.raises(EngineError, match=r"With dynamic_axes=None \(all dims static\) it can be exported") as caught:
        export(Enlarges(), x, directory=tmp_path / "made", dynamic_axes=axes, engine="dynamo")
    assert advised(caught.value) == ["dynamic_axes="]
    assert export(Enlarges(), x, directory=tmp_path / "made", dynamic_axes=None, engine="dynamo").passed


class Complex(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.view_as_complex(x).abs()


@pytest.mark.slow
def test_another_engine(tmp_path: Path) -> None:
    x = torch.randn(3, 4, 2)
    with pytest.raises(EngineError, match="With engine='dynamo' it can be exported") as caught:
        export(Complex(), x, directory=tmp_path / "made", engine="torchscript")
    assert advised(caught.value) == ["engine="]
    assert export(Complex(), x, directory=tmp_path / "made", engine="dynamo").passed


def test_a_newer_opset(tmp_path: Path) -> None:
    x = torch.randn(3, 4, 2)
    with pytest.raises(EngineError, match="With opset_version=20 it can be exported") as caught:
        export(Complex(), x, directory=tmp_path / "made", opset_version=13)
    assert advised(caught.value) == ["opset_version="]


class Eigen(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x).abs()


@pytest.mark.slow
def test_nothing_that_does_not_help(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="The operator at fault is aten::linalg_eigvals") as caught:
        export(Eigen(), torch.randn(2, 3, 3), directory=tmp_path / "made", opset_version=16, engine="torchscript")
    assert advised(caught.value) == []


class Tanh(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.net(x))


@pytest.mark.slow
def test_a_tolerance_for_a_small_difference(tmp_path: Path) -> None:
    options = tanh(lambda op, x, y: op.Mul(y, op.CastLike(op.Constant(value_float=1.0005), y)))
    module, x = Tanh(), torch.randn(4, 3)
    with pytest.raises(ParityError, match=r"within checks=\[Parity\(atol=") as caught:
        export(module, x, directory=tmp_path / "made", checks=[Parity(rtol=1e-4)], **options)
    found = re.search(r"atol=([\d.e-]+)", str(caught.value))
    assert found is not None
    assert export(module, x, directory=tmp_path / "made", checks=[Parity(atol=float(found[1]))], **options).passed


@pytest.mark.slow
def test_no_tolerance_for_a_large_one(tmp_path: Path) -> None:
    options = tanh(lambda op, x, y: op.Mul(y, op.CastLike(op.Constant(value_float=1.5), y)))
    with pytest.raises(ParityError, match="Change that part of the method") as caught:
        export(Tanh(), torch.randn(4, 3), directory=tmp_path / "made", **options)
    assert advised(caught.value) == []


@pytest.mark.slow
def test_other_weights(tmp_path: Path) -> None:
    """The translation is wrong only where a value is exactly zero, as all are with weights that are zero."""
    options = tanh(lambda op, x, y: op.Where(op.Equal(x, op.Sub(x, x)), op.Add(y, op.Exp(y)), y))
    module = Tanh()
    nn.init.zeros_(module.net.weight)
    nn.init.zeros_(module.net.bias)
    with pytest.raises(ParityError, match="preflight='warn' lets training continue") as caught:
        export(module, torch.randn(4, 3), directory=tmp_path / "made", **options)
    assert advised(caught.value) == ["preflight="]


@pytest.mark.slow
def test_weights_that_are_not_finite_are_called_that(tmp_path: Path) -> None:
    options = tanh(lambda op, x, y: op.Where(op.IsNaN(y), op.CastLike(op.Constant(value_float=0.0), y), y))
    module = Tanh()
    with torch.no_grad():
        module.net.bias[1] = float("nan")
    with pytest.raises(
        NotReadyError, match=r"the module's weights are not finite: 'net.bias' \(1 of 3 NaN\)"
    ) as caught:
        export(module, torch.randn(4, 3), directory=tmp_path / "made", **options)
    assert advised(caught.value) == []


class ReadsMemory(nn.Module):
    """Decides by a value that leaves its tensor unseen: torch.export refuses it, and TorchScript does not notice."""

    def forward(self, x: Tensor) -> Tensor:
        values = struct.unpack(f"{x.numel()}f", ctypes.string_at(x.data_ptr(), 4 * x.numel()))
        return x * 2 if max(values) < 9 else x * 3


@pytest.mark.slow
def test_where_one_graph_is_wrong_the_refusals_of_other_engines_are_told(tmp_path: Path) -> None:
    x = torch.rand(8, 4)
    x[4, 1] = 9.5
    with pytest.raises(ParityError, match=r"\(engine 'torchscript'\).*Other ways to export it fail: engine 'dynamo'"):
        export(ReadsMemory(), x, directory=tmp_path / "made")


def test_advice_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> Any:
        raise IndexError("a fault")

    monkeypatch.setattr(advice, "try_engine", fails)
    with pytest.raises(EngineError, match="operator at fault"):
        export(Complex(), torch.randn(3, 4, 2), directory=tmp_path / "made", engine="torchscript")
