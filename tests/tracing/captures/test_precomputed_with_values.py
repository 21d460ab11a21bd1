"""Modules that make decisions based on tensor values and compute with complex numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx.errors import CaptureNotApplicable
from lightning_onnx.tracing.captures.base import dynamic_shapes_of
from lightning_onnx.tracing.captures.precomputed_with_values import PrecomputedWithValues
from tests import outside
from tests.tracing.making import made


class Spectrum(nn.Module):
    """Warns depending on a value, and damps a spectrum."""

    def forward(self, x: Tensor) -> Tensor:
        if x.isnan().any():
            raise ValueError("x must not hold NaN")
        return torch.fft.irfft(torch.fft.rfft(x, dim=-1) * 0.25, n=6, dim=-1)


@pytest.mark.slow
def test_the_file_is_right_and_names_the_decision(tmp_path: Path) -> None:
    artifact = lightning_onnx.export(Spectrum(), torch.randn(4, 6), directory=tmp_path / "made")
    assert artifact.manifest["checks"][0]["status"] == "passed"
    x = torch.randn(7, 6)
    np.testing.assert_allclose(outside.run(artifact.model_path, x=x)[0], x * 0.25, atol=1e-6)


@pytest.mark.slow
def test_the_line_of_a_kept_decision_is_recorded() -> None:
    class Doubles(Spectrum):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 2 if x.mean() > 0 else x)

    flat, request = made(Doubles(), torch.randn(4, 6))
    captured = PrecomputedWithValues().capture(flat, request.tensors, dynamic_shapes_of(request.axes))
    assert any("test_precomputed_with_values.py" in line for line in captured.kept)


def test_modules_without_complex_numbers_are_left_to_other_captures() -> None:
    flat, request = made(nn.ReLU(), torch.randn(4, 6))
    with pytest.raises(CaptureNotApplicable):
        PrecomputedWithValues().capture(flat, request.tensors, dynamic_shapes_of(request.axes))
