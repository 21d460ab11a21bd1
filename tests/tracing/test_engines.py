"""Order and errors of the engines, and their graphs of torch's own modules."""

from __future__ import annotations

import builtins
import contextlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import ConfigurationError, EngineError
from lightning_onnx.errors import CaptureNotApplicable
from lightning_onnx.tracing.base import tracing
from lightning_onnx.tracing.captures.base import dynamic_shapes_of
from lightning_onnx.tracing.captures.table import CAPTURES
from lightning_onnx.tracing.engines import failure, order, refusals_of
from lightning_onnx.tracing.patches.table import patched
from lightning_onnx.tracing.rules.pooling import adaptive_average
from tests import outside
from tests.tracing.making import made

AXES = {"x": {0: "batch", 1: "length"}}


class Pools(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.AdaptiveAvgPool1d(3), nn.AdaptiveAvgPool2d((2, 5))

    def forward(self, x: Any) -> Any:
        return self.two(x), self.one(x.mean(2))


@pytest.mark.slow
def test_adaptive_pooling_holds_for_every_size(tmp_path: Path) -> None:
    axes = {"x": {0: "batch", 2: "height", 3: "width"}}
    made = lightning_onnx.export(Pools(), torch.randn(2, 3, 8, 9), directory=tmp_path / "x", dynamic_axes=axes)
    for height, width in ((8, 9), (7, 13), (2, 5), (31, 6)):
        x = torch.randn(1, 3, height, width)
        for a, b in zip(outside.run(made.model_path, x=x), Pools()(x), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(("size", "bins"), [(1, 1), (5, 3), (3, 5), (7, 7), (12, 5)])
def test_matrix_of_adaptive_pooling_equals_that_of_torch(size: int, bins: int) -> None:
    x = torch.randn(1, 1, size)
    torch.testing.assert_close(x @ adaptive_average(size, bins, x).T, nn.functional.adaptive_avg_pool1d(x, bins))


def test_the_torch_export_based_engine_comes_first_from_opset_17_on() -> None:
    def names(*asked: Any) -> list[str]:
        return list(dict.fromkeys(e.name for e in order("auto", *asked)))

    assert names(20) == names(17) == ["dynamo", "torchscript"]
    assert names(13) == ["torchscript"]
    assert names(20, {"custom_translation_table"}) == ["dynamo"]


def test_an_option_that_no_remaining_engine_takes() -> None:
    with pytest.raises(ConfigurationError, match="custom_translation_table"):
        lightning_onnx.ONNXExport(opset_version=13, export_options={"custom_translation_table": {}})


def test_captures_for_other_modules_are_not_a_cause() -> None:
    def error(message: str, cause: Exception) -> EngineError:
        found = EngineError(message)
        found.__cause__ = cause
        return found

    refused = error("engine 'dynamo': aten.foo.default is unknown", ValueError())
    other = error("engine 'dynamo': the method takes no derivative", CaptureNotApplicable())
    merged = failure([other, refused])
    assert "aten.foo.default is unknown" in str(merged)
    assert "takes no derivative" not in str(merged)
    assert merged.__cause__ is refused.__cause__
    assert "takes no derivative" in str(failure([other]))
    assert refusals_of([other, refused]) == ["engine 'dynamo': aten.foo.default is unknown"]
    assert refusals_of([other]) == []


def test_an_operator_that_one_engine_has_is_not_at_fault() -> None:
    """It has the operator, and refuses the module for another reason."""
    lacking = EngineError("engine 'torchscript': Exporting the operator 'aten::fft_rfft' is not supported")
    shape = EngineError("engine 'dynamo': RuntimeError: shape '[2, 24]' is invalid for input of size 40")
    other = EngineError("engine 'dynamo': No ONNX function found for <OpOverload(op='aten.fft_rfft', overload='')>")
    assert "fft_rfft" in str(failure([shape, lacking]))
    assert "fault" not in str(failure([shape, lacking]))
    assert "custom_translation_table" not in str(failure([shape, lacking]))
    for errors in ([lacking], [other, lacking], [shape, other, lacking]):
        assert "The operator at fault is aten::fft_rfft. Rewrite" in str(failure(errors))


@pytest.mark.slow
def test_the_error_names_the_cause_of_each_engine(tmp_path: Path) -> None:
    class Eigen(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.linalg.eigvals(x).abs()

    with pytest.raises(EngineError) as caught:
        lightning_onnx.export(Eigen(), torch.randn(2, 3, 3), directory=tmp_path / "x")
    message = str(caught.value)
    assert "engine 'dynamo'" in message
    assert "engine 'torchscript'" in message
    assert "operator at fault is aten::linalg_eig." in message
    assert caught.value.__cause__ is not None


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 1)

    def forward(self, x: Any) -> Any:
        return self.net(x, mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]))


@pytest.mark.slow
def test_causal_mask_of_a_free_length(tmp_path: Path) -> None:
    module = Causal().eval()
    made = lightning_onnx.export(module, torch.randn(2, 5, 8), directory=tmp_path / "x", dynamic_axes=AXES)
    x = torch.randn(3, 9, 8)
    with torch.no_grad():
        np.testing.assert_allclose(outside.run(made.model_path, x=x)[0], module(x), atol=1e-5)


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 1)

    def forward(self, x: Any, padding: Any) -> Any:
        return self.net(x, src_key_padding_mask=padding) + torch.arange(len(x))[:, None, None]


@pytest.mark.slow
def test_padding_mask_gives_the_same_as_eval_mode(tmp_path: Path) -> None:
    module = Padded().eval()
    padding = torch.tensor([[False, False, True], [False, False, False]])
    made = lightning_onnx.export(
        module, (torch.randn(2, 3, 8), padding), directory=tmp_path / "x",
        dynamic_axes={"x": {0: "batch", 1: "length"}, "padding": {0: "batch", 1: "length"}},
    )  # fmt: skip
    for mask in ([[0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]):
        x, padding = torch.randn(3, 4, 8), torch.tensor(mask, dtype=torch.bool)
        with torch.no_grad():
            expected = module(x, padding)
        np.testing.assert_allclose(outside.run(made.model_path, x=x, padding=padding)[0], expected, atol=1e-5)


class Cumulative(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.cummax(1).values


class Branches(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2 if x.sum() > 3 else x + 1


@pytest.mark.slow
def test_torch_prints_nothing(tmp_path: Path, capfd: Any) -> None:
    """If a trace fails, torch prints the whole graph to stderr."""
    flat, request = made(Branches(), torch.ones(3, 4))
    for capture in CAPTURES:
        with tracing("dynamo"), contextlib.suppress(Exception):
            capture.capture(flat, request.tensors, dynamic_shapes_of(request.axes))
    with pytest.raises(EngineError):
        lightning_onnx.export(Cumulative(), torch.ones(3, 4), directory=tmp_path / "y", engine="torchscript")
    told = capfd.readouterr()
    assert "graph(" not in told.out + told.err
    assert "def forward" not in told.out + told.err


def test_dynamo_lists_pythons_own_functions_before_they_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lists them on first use, which may be in the middle of a trace."""
    from torch._dynamo import trace_rules

    listing = trace_rules._builtin_function_ids.lazy_initializer
    monkeypatch.setattr(trace_rules, "_builtin_function_ids", trace_rules.FunctionIdSet(listing))
    own = len
    with patched("trace"):
        assert builtins.len is not own
        assert trace_rules.is_builtin_callable(own)
        assert not trace_rules.is_builtin_callable(builtins.len)


@pytest.mark.slow
def test_earlier_imports_do_not_choose_the_engine(tmp_path: Path) -> None:
    """Dynamo lists Python's own functions on first use, which may be in the middle of a trace."""
    program = """
import sys, onnxruntime, torch, lightning_onnx
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = torch.nn.LSTM(8, 16, batch_first=True)
    def forward(self, steps):
        return self.recurrent(steps)[0][:, -1]
axes = {"steps": {0: "batch", 1: "length"}}
made = lightning_onnx.export(Net().eval(), torch.randn(2, 5, 8), directory=sys.argv[1], dynamic_axes=axes)
print(made.manifest["model"]["engine"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "dynamo"


def found_int(*, base: int = 10) -> tuple[Any, Any]:
    return int, [int("11", base) for _ in range(1)]


def test_functions_find_another_int_in_the_tracing_thread_only() -> None:
    with patched("symbolic_int"):
        assert "int" not in globals()
        here, elsewhere = found_int(base=2), []
        thread = threading.Thread(target=lambda: elsewhere.append(found_int()))
        thread.start()
        thread.join()
    assert here[0] is not builtins.int
    assert isinstance(1, here[0])
    assert here[1] == [3]
    assert elsewhere == [(builtins.int, [11])]
    assert elsewhere[0][0] is builtins.int
    assert found_int()[0] is builtins.int


class Moves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.net.to(x.device)(x)


def test_a_submodule_moved_to_its_own_device(tmp_path: Path) -> None:
    made = lightning_onnx.export(Moves(), torch.randn(2, 3), directory=tmp_path / "made", engine="dynamo")
    assert made.proven
