"""What the engines find out about dims; fails when the private API of torch that it reads has moved."""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import ConfigurationError, EngineError, Parity, ParityError
from lightning_onnx.tracing.engines import order
from lightning_onnx.tracing.rules.pooling import adaptive_average
from tests import outside

AXES = {"x": {0: "batch", 1: "length"}}


class MultipleOfTwo(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.reshape(x.shape[0], x.shape[1] // 2, 2, 4).sum(2)


class ConstantDim(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * [0, 1, 2, 3, 4, 5, 6, 7][int(x.shape[1])]  # the line that fixes it


def test_relation_is_kept_and_told(tmp_path: Path) -> None:
    made = lightning_onnx.export(MultipleOfTwo(), torch.randn(2, 6, 4), directory=tmp_path / "x", dynamic_axes=AXES)
    assert made.manifest["relations"] == ["length is a multiple of 2"]
    assert made.manifest["model"]["engine"] == "dynamo"
    x = torch.randn(3, 10, 4)
    np.testing.assert_allclose(outside.run(made.model_path, x=x)[0], MultipleOfTwo()(x), atol=1e-6)


def test_dim_that_the_code_fixes_names_the_line(tmp_path: Path) -> None:
    line = ConstantDim.forward.__code__.co_firstlineno + 1
    told = rf"dim 1 of input 'x' \(length\) is static.*constant \(6\) at test_engines\.py:{line}\."
    with pytest.raises(EngineError, match=told):
        lightning_onnx.export(ConstantDim(), torch.randn(2, 6, 4), directory=tmp_path / "x", dynamic_axes=AXES)


@pytest.mark.slow
def test_dim_that_varied_and_is_fixed_becomes_static_with_a_note(fit: Any) -> None:
    from tests import models

    class Module(models.Tokens):
        def forward(self, ids: Any, mask: Any = None) -> Any:
            return super().forward(ids, mask).logits * list(range(20))[int(ids.shape[1])]

        def call(self, batch: Any) -> Any:
            return self(batch["ids"], mask=batch["mask"])

    callback = lightning_onnx.ONNXExport()
    fit(Module(), callback)
    assert callback.artifact is not None
    assert outside.shapes(callback.artifact.model_path)["ids"] == ["batch", 5]
    assert any("'ids'" in n and "is static" in n for n in callback.artifact.manifest["notes"])


class Pools(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.AdaptiveAvgPool1d(3), nn.AdaptiveAvgPool2d((2, 5))

    def forward(self, x: Any) -> Any:
        return self.two(x), self.one(x.mean(2))


def test_adaptive_pooling_holds_for_every_size(tmp_path: Path) -> None:
    axes = {"x": {0: "batch", 2: "height", 3: "width"}}
    made = lightning_onnx.export(Pools(), torch.randn(2, 3, 8, 9), directory=tmp_path / "x", dynamic_axes=axes)
    for height, width in ((8, 9), (7, 13), (2, 5), (31, 6)):
        x = torch.randn(1, 3, height, width)
        for a, b in zip(outside.run(made.model_path, x=x), Pools()(x), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(("size", "bins"), [(1, 1), (5, 3), (3, 5), (7, 7), (12, 5)])
def test_matrix_of_adaptive_pooling_is_torchs(size: int, bins: int) -> None:
    x = torch.randn(1, 1, size)
    torch.testing.assert_close(x @ adaptive_average(size, bins, x).T, nn.functional.adaptive_avg_pool1d(x, bins))


def test_order_of_the_engines() -> None:
    def names(*asked: Any) -> list[str]:
        return list(dict.fromkeys(e.name for e in order("auto", *asked)))

    assert names(20) == names(17) == ["dynamo", "torchscript"]
    assert names(13) == ["torchscript"]
    assert names(20, {"custom_translation_table"}) == ["dynamo"]


def test_option_that_no_engine_left_takes() -> None:
    with pytest.raises(ConfigurationError, match="custom_translation_table"):
        lightning_onnx.ONNXExport(opset_version=13, export_options={"custom_translation_table": {}})


@pytest.mark.slow
def test_both_causes_are_told(tmp_path: Path) -> None:
    class Eigen(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.linalg.eigvals(x).abs()

    with pytest.raises(EngineError) as caught:
        lightning_onnx.export(Eigen(), torch.randn(2, 3, 3), directory=tmp_path / "x")
    message = str(caught.value)
    assert "engine 'dynamo'" in message
    assert "engine 'torchscript'" in message
    assert "operator at fault is aten::linalg_eigvals" in message
    assert caught.value.__cause__ is not None


def test_swapped_keys_of_a_result_swap_the_names(tmp_path: Path) -> None:
    class Swaps(nn.Module):
        def __init__(self, keys: tuple[str, str]) -> None:
            super().__init__()
            self.keys = keys

        def forward(self, x: Any) -> Any:
            return dict(zip(self.keys, (x + 1, x * 2), strict=True))

    x = torch.ones(2, 3)
    for keys in (("a", "b"), ("b", "a")):
        made = lightning_onnx.export(Swaps(keys), x, directory=tmp_path / keys[0])
        session = outside.session(made.model_path)
        got = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x.numpy() * 3}), strict=True))
        np.testing.assert_array_equal(got[keys[0]], x.numpy() * 3 + 1)
        np.testing.assert_array_equal(got[keys[1]], x.numpy() * 6)


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 1)

    def forward(self, x: Any) -> Any:
        return self.net(x, mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]))


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
def test_padding_mask_gives_what_eval_mode_gives(tmp_path: Path) -> None:
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


def test_torch_prints_nothing(tmp_path: Path, capfd: Any) -> None:
    """Where a trace fails, torch prints the whole graph to stderr."""
    lightning_onnx.export(Branches(), torch.ones(3, 4), directory=tmp_path / "x")
    with pytest.raises(EngineError):
        lightning_onnx.export(Cumulative(), torch.ones(3, 4), directory=tmp_path / "y", engine="torchscript")
    told = capfd.readouterr()
    assert "graph(" not in told.out + told.err
    assert "def forward" not in told.out + told.err


def test_what_was_imported_before_does_not_choose_the_engine(tmp_path: Path) -> None:
    """Dynamo lists Python's own functions when first asked, in the midst of a trace if nothing asked before."""
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


class OnFours(nn.Module):
    """Works on fours: pads where the length is no multiple, and cuts what it has padded."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        missing = -length % 4
        if missing:
            x = nn.functional.pad(x, (0, missing))
        return self.net(x.unflatten(1, (-1, 4))).flatten(1)[:, :length]


def test_a_size_that_needs_no_padding_is_traced_elsewhere(tmp_path: Path) -> None:
    module = OnFours()
    axes = {"x": {0: "batch", 1: "time"}}
    made = lightning_onnx.export(module, torch.randn(2, 8), directory=tmp_path / "made", dynamic_axes=axes)
    session = onnxruntime.InferenceSession(made.model_path)
    for length in (4, 8, 11, 13, 30):
        x = torch.randn(3, length)
        (got,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(got), module(x).detach(), rtol=1e-4, atol=1e-5)


class Pooled(nn.Module):
    """The mean of each group, of as many groups as the numbers name."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 4)

    def forward(self, x: Tensor, group: Tensor) -> Tensor:
        number = int(group.max()) + 1
        total = torch.zeros(number, 4).index_add(0, group, self.net(x))
        if total.shape[0] == 1:  # a decision by a value
            return total
        return total / torch.bincount(group, minlength=number).clamp(min=1).unsqueeze(1)


def test_decisions_by_values_keep_those_of_the_traced_call_and_say_so(tmp_path: Path) -> None:
    module, group = Pooled(), torch.tensor([0, 0, 1, 1, 1, 2, 2])
    axes = {"x": {0: "nodes"}, "group": {0: "nodes"}}
    made = lightning_onnx.export(
        module, (torch.randn(7, 3), group), directory=tmp_path / "made", dynamic_axes=axes, engine="dynamo"
    )
    assert any("decides by values" in note for note in made.manifest["notes"])
    session = onnxruntime.InferenceSession(made.model_path)
    x, group = torch.randn(9, 3), torch.tensor([0, 1, 1, 2, 2, 3, 3, 4, 4])
    (got,) = session.run(None, {"x": x.numpy(), "group": group.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), module(x, group).detach(), rtol=1e-4, atol=1e-5)


def test_int_is_pythons_own_again_after_an_export(tmp_path: Path) -> None:
    from lightning_onnx.tracing.patches import integers

    with integers.symbolic():
        assert globals()["int"] is not builtins.int
        assert isinstance(1, globals()["int"])
        assert globals()["int"]("7") == 7
    assert "int" not in globals()


class Moves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.net.to(x.device)(x)


def test_a_part_that_is_moved_where_it_is(tmp_path: Path) -> None:
    made = lightning_onnx.export(Moves(), torch.randn(2, 3), directory=tmp_path / "made", engine="dynamo")
    assert made.proven


class Bent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


def test_a_small_difference_is_left_to_the_check_of_the_trained_weights(tmp_path: Path) -> None:
    from onnxscript import opset20 as op

    def bent(x: Any) -> Any:
        return op.Mul(op.Tanh(x), op.CastLike(op.Constant(value_float=1.0005), x))

    options: dict[str, Any] = {
        "engine": "dynamo",
        "export_options": {"custom_translation_table": {torch.ops.aten.tanh.default: bent}},
    }
    made = lightning_onnx.export(Bent(), torch.randn(2, 3), directory=tmp_path / "made", **options)
    assert any("differ by little" in note for note in made.manifest["notes"])
    assert not made.passed
    with pytest.raises(ParityError):
        lightning_onnx.export(
            Bent(), torch.randn(2, 3), directory=tmp_path / "other", checks=[Parity(rtol=1e-4)], **options
        )
