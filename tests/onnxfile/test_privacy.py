"""Private data is found, and other data is not changed."""

from __future__ import annotations

import getpass
import platform
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from lightning_onnx import ONNXArtifact, export
from lightning_onnx.onnxfile import privacy


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    directory = tmp_path_factory.mktemp("privacy") / "a"
    return export(nn.Linear(4, 3), torch.randn(2, 4), directory=directory, metadata={"author": "x"})


@pytest.fixture
def model(exported: ONNXArtifact) -> onnx.ModelProto:
    return onnx.load(exported.model_path)


def test_an_artifact_has_nothing(model: onnx.ModelProto) -> None:
    assert privacy.find_private_data(model) == []


@pytest.mark.slow
def test_a_plain_export_of_torch_has_traces(tmp_path: Path) -> None:
    program = torch.onnx.export(nn.Linear(4, 3), (torch.randn(2, 4),), dynamo=True, verbose=False)
    assert program is not None
    found = privacy.find_private_data(program.model_proto)
    assert {"stack trace"} <= {f.kind for f in found}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("/home/someone/project/model.py", "absolute path"),
        ("C:\\Users\\someone\\model.py", "absolute path"),
        ('File "model.py", line 3, in forward', "stack trace"),
        ("model.py(12): forward", "stack trace"),
        ("made by zaphod on heartofgold", "name of the user or host"),
    ],
)
@pytest.mark.parametrize("place", ["metadata", "doc_string", "node", "attribute"])
def test_finds(text: str, kind: str, place: str, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "zaphod")
    monkeypatch.setattr(platform, "node", lambda: "heartofgold")
    if place == "metadata":
        model.metadata_props.add(key="note", value=text)
    elif place == "doc_string":
        model.graph.doc_string = text
    elif place == "node":
        model.graph.node[0].metadata_props.add(key="trace", value=text)
    else:
        model.graph.node[0].attribute.append(onnx.helper.make_attribute("text", text))
    assert kind in {f.kind for f in privacy.find_private_data(model)}


@pytest.mark.parametrize("text", ["encoder/layer/0", "https://pytorch.org/docs", "a/b", "accuracy 3/4", "root"])
def test_files_that_stay_unchanged(text: str, model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="note", value=text)
    model.graph.node[0].name = "/tmp_module/Gemm" if text == "a/b" else text
    assert privacy.find_private_data(model) == []


def test_finds_in_subgraphs_and_functions(model: onnx.ModelProto) -> None:
    helper = onnx.helper
    deep = helper.make_node("Constant", [], ["c"], name="deep", doc_string="see /home/someone/a.txt", value_float=1.0)
    branch = helper.make_graph([deep], "branch", [], [helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [])])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], name="if", then_branch=branch, else_branch=branch))
    text = helper.make_node("Identity", ["a"], ["b"], name="text", doc_string="see /home/someone/b.txt")
    model.functions.append(helper.make_function("own", "same", ["a"], ["b"], [text], model.opset_import))
    found = {(f.where, f.found) for f in privacy.find_private_data(model)}
    assert found == {("node deep", "/home/someone/a.txt"), ("node text", "/home/someone/b.txt")}
