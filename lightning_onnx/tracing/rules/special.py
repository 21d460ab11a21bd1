"""Special functions that ONNX has no operators for, in double precision.

Made of operators that onnxruntime has in double precision, which ``Erf`` and ``Tan`` are not among.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_LANCZOS = (
    0.99999999999980993,
    676.5203681218851,
    -1259.1392167224028,
    771.32342877765313,
    -176.61502916214059,
    12.507343278686905,
    -0.13857109526572012,
    9.9843695780195716e-6,
    1.5056327351493116e-7,
)
"""Of Lanczos' approximation with g = 7 and nine terms: https://en.wikipedia.org/wiki/Lanczos_approximation."""

_BERNOULLI = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760)
"""Of digamma's asymptotic series, NIST's DLMF 5.11.2."""

_GILES = (
    (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
     0.246640727, 1.50140941),
    (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
     1.00167406, 2.83297682),
)  # fmt: skip
"""Of M. Giles, *Approximating the erfinv function* (2012): the middle, and the tails."""


def _double(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def in_double(x: Tensor) -> Tensor:
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        return function(x.to(torch.float64)).to(dtype)

    return in_double


def _lgamma_of_half_or_more(x: Tensor) -> Tensor:
    x = x - 1
    series = _LANCZOS[0] + sum((c / (x + i) for i, c in enumerate(_LANCZOS) if i), torch.zeros_like(x))
    t = x + 7.5
    return 0.5 * math.log(2 * math.pi) + (x + 0.5) * t.log() - t + series.log()


def _sine(x: Tensor) -> Tensor:
    """The sine of ``pi * x`` but for its sign, zero where it should be."""
    return (math.pi * (x - x.round())).sin()


@_double
def lgamma(x: Tensor) -> Tensor:
    """Return the logarithm of the gamma function's magnitude."""
    mirrored = x < 0.5
    found = _lgamma_of_half_or_more(torch.where(mirrored, 1 - x, x))
    found = torch.where(mirrored, math.log(math.pi) - _sine(x).abs().log() - found, found)
    return torch.where(x.abs() == math.inf, math.inf, found)


@_double
def digamma(x: Tensor) -> Tensor:
    """Return the derivative of ``lgamma``."""
    mirrored = x < 0.5
    y = torch.where(mirrored, 1 - x, x)
    found = torch.zeros_like(y)
    for _ in range(8):  # by digamma(y) = digamma(y + 1) - 1 / y to where the series is exact
        found = found - 1 / y
        y = y + 1
    square = 1 / (y * y)
    series = torch.zeros_like(y)
    for coefficient in reversed(_BERNOULLI):
        series = (series + coefficient) * square
    found = found + y.log() - 0.5 / y - series
    cotangent = (math.pi * (x - x.round())).cos() / (math.pi * (x - x.round())).sin()
    found = torch.where(mirrored, found - math.pi * cotangent, found)
    return torch.where((x < 0) & (x == x.round()), math.nan, found)


@_double
def erfinv(x: Tensor) -> Tensor:
    """Return the inverse of the error function, to single precision."""
    w = -((1 - x) * (1 + x)).log()
    middle, tails = (_polynomial(c, y) for c, y in zip(_GILES, (w - 2.5, w.clamp(min=5).sqrt() - 3), strict=True))
    y = torch.where(w < 5, middle, tails) * x
    return torch.where(x.abs() == 1, x * math.inf, y)


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    found = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        found = found * x + coefficient
    return found
