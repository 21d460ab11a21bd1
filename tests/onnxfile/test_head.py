"""Opsets and metadata of a file are read without its graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from lightning_onnx import ONNXArtifact, export
from lightning_onnx.errors import InputError
from lightning_onnx.onnxfile.head import opset_of, read_head


@pytest.fixture
def made(tmp_path: Path) -> ONNXArtifact:
    return export(nn.Linear(4, 2), torch.randn(3, 4), directory=tmp_path / "a", metadata={"labels": "a,b"})


def test_head_of_a_file_is_read_without_its_graph(made: ONNXArtifact) -> None:
    head, whole = read_head(made.model_path), onnx.load(made.model_path)
    assert not head.graph.node
    whole.ClearField("graph")
    assert head == whole
    assert opset_of(head) == 20


def test_a_model_of_other_operators_has_no_opset() -> None:
    assert opset_of(onnx.ModelProto(opset_import=[onnx.helper.make_opsetid("ai.onnx.ml", 3)])) is None
    assert opset_of(onnx.ModelProto(opset_import=[onnx.helper.make_opsetid("ai.onnx", 18)])) == 18


def test_text_has_no_head(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("no model at all")
    with pytest.raises(InputError, match="is not an ONNX model"):
        read_head(tmp_path / "model.onnx")
