"""Prepare with some weights, produce with others, and compare the file with the module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.source import Source
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.pipeline.produce import produce
from tests import outside


def check_other_weights(net: nn.Module, inputs: Tensor, tmp_path: Path) -> None:
    """Check a module with one input, traced with the weights that it has, at another batch size and other weights."""
    observation = Observation.of(sample_of(net, "forward", ((inputs,), {})), "a test")
    plan = prepare(private_copy(net), [observation], ExportConfig())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    made = produce(plan, LoadedModule(private_copy(net), Source()), tmp_path / "x")
    assert made.passed, made.manifest["checks"]
    x = torch.randn(5, *inputs.shape[1:])
    with torch.no_grad():
        expected = net(x)
    name = made.signature.inputs[0].name
    actual = outside.run(made.model_path, **{name: x})
    for a, e in zip(actual, expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_allclose(a, e.detach(), atol=1e-5)
