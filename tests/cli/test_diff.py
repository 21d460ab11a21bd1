"""``lightning-onnx diff``, as it is typed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import Latency, ONNXArtifact, Parity
from lightning_onnx.cli import main

Captured = pytest.CaptureFixture[str]


class Net(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.body, self.activation, self.head = nn.Linear(4, 8), activation, nn.Linear(8, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.activation(self.body(x)))}


def made(directory: Path, change: float = 1.0, activation: nn.Module | None = None, **options: Any) -> ONNXArtifact:
    torch.manual_seed(0)
    module = Net(activation or nn.ReLU())
    with torch.no_grad():
        module.head.weight *= change
    return lightning_onnx.export(module, torch.randn(4, 4), directory=directory, **options)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    return made(tmp_path_factory.mktemp("diff") / "a")


def diff(first: ONNXArtifact, second: ONNXArtifact, capsys: Captured, *options: str) -> tuple[int, Any]:
    code = main.main(["diff", str(first.directory), str(second.directory), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def test_the_default_name_of_an_output_is_not_said_twice(exported: Path, capsys: Captured) -> None:
    assert main.main(["diff", str(exported), str(exported)]) == 0
    assert "\noutput  the same" in re.sub(" {2,}", "  ", capsys.readouterr().out)


def test_the_same(first: ONNXArtifact, capsys: Captured) -> None:
    code, found = diff(first, first, capsys)
    assert code == 0
    assert found["operators"] == found["weights"] == {}
    assert found["weights_compared"] == 4
    assert found["outputs"]["logits"]["max_rel_diff"] == 0
    assert main.main(["diff", str(first.directory), str(first.directory)]) == 0
    assert "output logits  the same" in capsys.readouterr().out


@pytest.mark.slow
def test_changed_weights(first: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    second = made(tmp_path / "b", change=1.5)
    code, found = diff(first, second, capsys)
    assert code == 0
    assert list(found["weights"]) == ["head"]
    assert found["weights"]["head"] == pytest.approx(0.5, rel=1e-6)
    x = numpy_helper.to_array(TensorProto.FromString((first.directory / "test_data_set_0/input_0.pb").read_bytes()))
    a, b = (onnxruntime.InferenceSession(str(made.model_path)).run(None, {"x": x})[0] for made in (first, second))
    assert found["outputs"]["logits"]["max_rel_diff"] == pytest.approx(np.abs(a - b).max() / np.abs(a).max(), rel=1e-3)
    assert found["outputs"]["logits"]["top1_agreement"] == pytest.approx((a.argmax(1) == b.argmax(1)).mean())


@pytest.mark.slow
def test_another_graph(first: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    second = made(tmp_path / "b", activation=nn.Sequential(nn.Tanh(), nn.Linear(8, 8)))
    _, found = diff(first, second, capsys)
    assert found["operators"] == {"Gemm": [2, 3], "Relu": [1, None], "Tanh": [None, 1]}
    assert found["weights"] == {"activation.1": None}  # it has no counterpart: infinite, which JSON does not have


@pytest.mark.slow
def test_a_check_that_does_not_pass_any_more(first: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    second = made(tmp_path / "b", checks=[Parity(), Latency(seconds=0.02, max_ratio=1e-9)])
    code, found = diff(first, second, capsys)
    assert (code, found["worse"]) == (1, ["latency"])  # the first did not have this check, but the second fails it
    assert found["checks"] == {"parity": ["passed", "passed"], "latency": [None, "failed"]}
    third = made(tmp_path / "c", checks=[])
    assert main.main(["diff", str(first.directory), str(third.directory)]) == 1
    text = capsys.readouterr().out
    assert "passed → not there" in text
    assert "B is worse: parity" in text


def test_other_inputs_and_no_test_data(first: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    other = lightning_onnx.export(nn.Linear(3, 2), torch.randn(2, 3), directory=tmp_path / "b", test_data=None)
    code, found = diff(first, other, capsys)
    assert code == 1
    assert found["incompatible"] == ["input x is missing", "input input is new", "output logits is missing"]
    assert found["no_outputs"] == "the inputs are ['x'] and ['input']"
    _, found = diff(other, first, capsys)
    assert "has no test data" in found["no_outputs"]


class Answers(Net):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores = super().forward(x)["logits"]
        return {"index": scores.argmax(1), "is_large": scores > 0}


@pytest.mark.slow
def test_integers_bools_and_class_names(tmp_path: Path, capsys: Captured) -> None:
    torch.manual_seed(0)
    module, x = Answers(nn.ReLU()), torch.randn(4, 4)
    labels = ["cat", "dog", "owl"]
    first = lightning_onnx.export(module, x, directory=tmp_path / "a", labels=labels)
    with torch.no_grad():
        module.head.weight.zero_()
        module.head.bias.copy_(-module.head.bias.abs() + torch.tensor([9.0, 0.0, 0.0]))
    second = lightning_onnx.export(module, x, directory=tmp_path / "b", labels=labels[::-1])
    code, found = diff(first, second, capsys)
    inputs = numpy_helper.to_array(TensorProto.FromString((first.test_data / "input_0.pb").read_bytes()))
    a, b = (onnxruntime.InferenceSession(str(own.model_path)).run(None, {"x": inputs}) for own in (first, second))
    for i, name in enumerate(("index", "is_large")):
        assert found["outputs"][name]["differing"] == (a[i] != b[i]).mean() > 0
        assert found["outputs"][name]["max_rel_diff"] is None
    assert found["contract"] == {"class names of index": [labels, labels[::-1]]}
    assert code == 1
    assert main.main(["diff", str(first.directory), str(second.directory)]) == 1
    text = capsys.readouterr().out
    assert "of the elements differ" in text
    assert "B is incompatible with clients of A: the class names of output index have another order: class 0" in text


def test_usage(first: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    assert main.main(["diff", str(first.directory), str(tmp_path / "nothing")]) == 2
    assert main.main(["diff", str(first.model_path), str(first.directory)]) == 2
    assert "Give the directory of an artifact" in capsys.readouterr().err
    assert main.main(["diff", str(first.directory), str(first.directory), "--runtime", "tensorflow"]) == 2
