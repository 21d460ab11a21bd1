"""Quantization-aware training: the file quantizes with the ranges that training has found."""

from __future__ import annotations

import platform
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.ao import quantization

import lightning_onnx
from lightning_onnx.errors import NotReadyError
from tests import outside

CPU_INFO = Path("/proc/cpuinfo")  # of Linux
OVERFLOWS = platform.machine() == "x86_64" and CPU_INFO.exists() and "vnni" not in CPU_INFO.read_text()


class Quantized(nn.Module):
    def __init__(self, backend: str) -> None:
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Linear(6, 4)
        self.qconfig = quantization.get_default_qat_qconfig(backend)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantization.prepare_qat(self.train(), inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.dequant(self.fc(self.relu(self.conv(self.quant(x))).mean((2, 3))))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["qnnpack", "fbgemm"])  # one scale for all channels, or one for each
def test_a_quantized_module_is_a_file_with_quantized_values(backend: str, tmp_path: Path) -> None:
    module = Quantized(backend)
    for _ in range(3):
        module(torch.randn(8, 3, 8, 8))
    observed = module.conv.weight_fake_quant.activation_post_process.min_val.clone()
    made = lightning_onnx.export(module, torch.randn(4, 3, 8, 8), directory=tmp_path / "made")
    assert made.passed or (backend == "qnnpack" and OVERFLOWS)
    kinds = [node.op_type for node in onnx.load(made.model_path).graph.node]
    assert kinds.count("QuantizeLinear") == kinds.count("DequantizeLinear") >= 5
    assert module.conv.weight_fake_quant.observer_enabled.all()
    assert torch.equal(module.conv.weight_fake_quant.activation_post_process.min_val, observed)
    module.apply(quantization.disable_observer).eval()
    x = torch.randn(7, 3, 8, 8)
    np.testing.assert_allclose(outside.run(made.model_path, x=x)[0], module(x).detach(), atol=2e-2)


@pytest.mark.slow
@pytest.mark.skipif(not OVERFLOWS, reason="integer kernels do not overflow on this CPU")
def test_integer_kernels_that_overflow_are_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Quantized("qnnpack")
    for _ in range(3):
        module(torch.randn(8, 3, 8, 8))
    made = lightning_onnx.export(module, torch.randn(4, 3, 8, 8), directory=tmp_path / "made")
    assert not made.passed
    reason = next(check["reason"] for check in made.manifest["checks"] if check["name"] == "parity")
    assert "onnxruntime's integer kernels are not" in reason
    module.apply(quantization.disable_observer).eval()
    x = torch.randn(16, 3, 8, 8)
    found = {}
    for value in "01":
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", value)
        session = onnxruntime.InferenceSession(made.model_path, options, providers=["CPUExecutionProvider"])
        found[value] = np.abs(session.run(None, {"x": x.numpy()})[0] - module(x).detach().numpy()).max()
    assert found["1"] < 1e-6 < found["0"]


@pytest.mark.slow
def test_without_quantization_the_file_has_none(tmp_path: Path) -> None:
    module = Quantized("qnnpack")
    module(torch.randn(8, 3, 8, 8))
    module.apply(quantization.disable_fake_quant)
    made = lightning_onnx.export(module, torch.randn(4, 3, 8, 8), directory=tmp_path / "made")
    assert "QuantizeLinear" not in [node.op_type for node in onnx.load(made.model_path).graph.node]


def test_a_module_whose_observers_have_seen_nothing_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="has seen no values yet"):
        lightning_onnx.export(Quantized("fbgemm"), torch.randn(4, 3, 8, 8), directory=tmp_path / "made")
