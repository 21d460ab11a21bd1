"""Complex inputs and outputs are refused with options that help."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import EngineError, export
from tests import outside


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x, dim=1)


class Magnitude(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return (z * z).abs()


@pytest.mark.parametrize(
    ("module", "example", "words"),
    [
        (Spectrum(), torch.randn(3, 8), r"Spectrum\.forward returns complex numbers \(output: complex64\)"),
        (
            Magnitude(),
            torch.randn(3, 4, dtype=torch.complex64),
            r"Magnitude\.forward takes complex inputs \(z: complex64\)",
        ),
    ],
)
def test_the_error_says_what_is_complex(tmp_path: Path, module: nn.Module, example: Tensor, words: str) -> None:
    with pytest.raises(EngineError, match=words):
        export(module, example, directory=tmp_path / "made")


@pytest.mark.slow
def test_the_options_that_it_names_help(tmp_path: Path) -> None:
    x, z = torch.randn(5, 8), torch.randn(5, 4, dtype=torch.complex64)
    made = export(Spectrum(), x[:3], directory=tmp_path / "spectrum", postprocess=torch.view_as_real)
    (got,) = outside.run(made.model_path, x=x)
    np.testing.assert_allclose(got, torch.view_as_real(torch.fft.rfft(x, dim=1)), atol=1e-5)
    parts = torch.view_as_real(z)
    made = export(Magnitude(), parts[:3], directory=tmp_path / "magnitude", preprocess=torch.view_as_complex)
    (got,) = outside.run(made.model_path, **{made.signature.inputs[0].name: parts})
    np.testing.assert_allclose(got, (z * z).abs(), atol=1e-5)
