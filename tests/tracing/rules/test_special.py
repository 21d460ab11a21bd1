"""Special functions written out, against torch's own."""

from __future__ import annotations

import torch

from lightning_onnx.tracing.rules import special


def test_special_functions_equal_those_of_torch() -> None:
    x = torch.linspace(-4.97, 30, 2000, dtype=torch.float64)
    torch.testing.assert_close(special.lgamma(x), torch.lgamma(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(special.digamma(x), torch.digamma(x), rtol=1e-12, atol=1e-12)
    poles = torch.tensor([-1.0, -2.0, -1e10, torch.inf, -torch.inf])
    torch.testing.assert_close(special.lgamma(poles), torch.lgamma(poles))
    torch.testing.assert_close(special.digamma(poles[:3]), torch.digamma(poles[:3]), equal_nan=True)
    y = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    torch.testing.assert_close(special.erfinv(y), torch.erfinv(y), rtol=1e-12, atol=0)


def test_the_error_function_and_its_relatives() -> None:
    x = torch.linspace(-30, 26, 4001, dtype=torch.float64)
    torch.testing.assert_close(special.erf(x), torch.erf(x), rtol=1e-14, atol=0)
    torch.testing.assert_close(special.erfc(x), torch.erfc(x), rtol=1e-12, atol=0)
    torch.testing.assert_close(special.erfcx(x), torch.special.erfcx(x), rtol=1e-14, atol=0)
    torch.testing.assert_close(special.log_ndtr(x), torch.special.log_ndtr(x), rtol=1e-12, atol=0)
