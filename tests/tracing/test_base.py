"""Shared parts of the engines: errors, options and the opset that is read back."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import torch

from lightning_onnx import EngineError
from lightning_onnx.tracing.base import check_opset, torch_options, tracing


def test_the_innermost_cause_is_reported() -> None:
    error = RuntimeError("outer")
    error.__cause__ = KeyError("inner")
    with pytest.raises(EngineError, match=r"engine 'dynamo': KeyError: 'inner'") as caught, tracing("dynamo"):
        raise error
    assert caught.value.__cause__ is error
    assert torch.is_grad_enabled()


def test_options_that_the_graph_applies_do_not_go_to_torch() -> None:
    options = {"export_params": False, "keep_initializers_as_inputs": True, "custom_opsets": {}}
    assert torch_options(options) == {"custom_opsets": {}}


def test_an_opset_that_was_not_requested_is_an_error() -> None:
    model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 18}), ir_version=10)
    check_opset("dynamo", model, 18)
    with pytest.raises(EngineError, match="engine 'dynamo' wrote opset 18 where 17 was asked for"):
        check_opset("dynamo", model, 17)
