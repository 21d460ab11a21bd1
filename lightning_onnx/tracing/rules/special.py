"""Special functions that ONNX has no operators for, or not at their extremes, computed in double precision.

They are made of operators that onnxruntime has in double precision, which ``Erf`` and ``Tan`` are not among.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lightning_onnx.tracing.rules.base import Rule, aten, is_double
from lightning_onnx.tracing.rules.elementwise import log1p

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

_ERFCX = (
    -0.6513268598908547,
    0.6419697923564902,
    0.019476473204185836,
    -0.009561514786808632,
    -0.0009465953444820369,
    0.00036683949785276145,
    4.252332480690777e-05,
    -2.0278578112534242e-05,
    -1.6242900046470256e-06,
    1.3036558355805232e-06,
    1.5626441722066142e-08,
    -8.523809591492654e-08,
    6.5290544390988515e-09,
    5.059343495551469e-09,
    -9.91364156493033e-10,
    -2.273651222931836e-10,
    9.646791102015527e-11,
    2.3940380830391146e-12,
    -6.886027526497553e-12,
    8.944879273090725e-13,
    3.130921399342958e-13,
    -1.1270822361367252e-13,
    3.810905255189232e-16,
    7.106097613609237e-15,
    -1.5230282014571043e-15,
    -9.457494571291233e-17,
    1.210237189224279e-16,
    -2.816663087747177e-17,
)
"""Chebyshev coefficients in ``2 t - 1`` of ``log(erfcx(z) / t)`` with ``t = 2 / (2 + z)`` for z from 0 to infinity.

Computed with mpmath at 40 digits on 64 Chebyshev nodes; the error of 28 terms is below 1e-16.
"""

_MACLAURIN = tuple((-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(16))
"""Of erf around 0, in powers of ``x ** 2``, without the factor ``2 x / sqrt(pi)``."""

_GILES = (
    (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
     0.246640727, 1.50140941),
    (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
     1.00167406, 2.83297682),
)  # fmt: skip
"""Of M. Giles, *Approximating the erfinv function* (2012): the middle, and the tails."""


def _double(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Compute in double precision, and return the dtype that torch does."""

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
    found = torch.where((x < 0) & (x == x.round()), math.nan, found)
    return torch.where(x == 0, -1 / x, found)


def _erfcx_of_positive(z: Tensor) -> Tensor:
    """Return ``exp(z ** 2) * erfc(z)`` for z of at least 0, by Clenshaw's recurrence."""
    t = 2 / (2 + z)
    y = 2 * (2 * t - 1)
    after, last = torch.zeros_like(t), torch.zeros_like(t)
    for coefficient in reversed(_constants(_ERFCX[1:], t)):
        after, last = y * after - last + coefficient, after
    return t * (y / 2 * after - last + _constants(_ERFCX[:1], t)[0]).exp()


def _erfc(z: Tensor) -> Tensor:
    tail = _erfcx_of_positive(z.abs()) * (-z * z).exp()
    return torch.where(z.isnan(), z, torch.where(z < 0, 2 - tail, tail))


@_double
def erfc(x: Tensor) -> Tensor:
    """Return the complement of the error function."""
    return _erfc(x)


@_double
def erf(x: Tensor) -> Tensor:
    """Return the error function; near 0 by its series, where the complement cancels."""
    return torch.where(x.abs() < 0.5, _erf_of_small(x), 1 - _erfc(x))


def _erf_of_small(x: Tensor) -> Tensor:
    square, series = x * x, torch.zeros_like(x)
    for coefficient in reversed(_constants(_MACLAURIN, x)):
        series = series * square + coefficient
    return _TWO_BY_ROOT_PI * x * series


@_double
def erfcx(x: Tensor) -> Tensor:
    """Return ``exp(x ** 2) * erfc(x)``."""
    positive = _erfcx_of_positive(x.abs())
    return torch.where(x.isnan(), x, torch.where(x < 0, 2 * (x * x).exp() - positive, positive))


@_double
def log_ndtr(x: Tensor) -> Tensor:
    """Return the logarithm of the normal distribution's cumulative probability."""
    z = x / math.sqrt(2)
    tail = (_erfcx_of_positive(z.clamp(max=0).abs()) / 2).log() - z * z
    found = torch.where(x < -1, tail, log1p(-_erfc(z) / 2))
    return torch.where(x == -math.inf, x, found)


@_double
def ndtr(x: Tensor) -> Tensor:
    """Return the normal distribution's cumulative probability."""
    return _erfc(-x / math.sqrt(2)) / 2


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """See the formulas in the documentation of ``torch.nn.GELU``."""
    if approximate == "tanh":
        return x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh()) / 2
    return x * (1 + erf(x / math.sqrt(2))) / 2


@_double
def erfinv(x: Tensor) -> Tensor:
    """Return the inverse of the error function: single precision, then two Newton steps on log(erfc)."""
    w = -((1 - x) * (1 + x)).log()
    middle, tails = (_polynomial(c, y) for c, y in zip(_GILES, (w - 2.5, w.clamp(min=5).sqrt() - 3), strict=True))
    y = torch.where(w < 5, middle, tails) * x
    size, wanted = y.abs(), (1 - x.abs()).log()
    for _ in range(2):
        scaled = _erfcx_of_positive(size)
        size = size + (scaled.log() - size * size - wanted) * scaled / _TWO_BY_ROOT_PI
    small = y - (_erf_of_small(y) - x) * (y * y).exp() / _TWO_BY_ROOT_PI
    found = torch.where(x.abs() < 0.5, small, torch.where(x < 0, -size, size))
    return torch.where(x.abs() == 1, x * math.inf, torch.where(x.abs() > 1, math.nan, found))


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    first, *rest = _constants(coefficients, x)
    found = torch.zeros_like(x) + first
    for coefficient in rest:
        found = found * x + coefficient
    return found


def _constants(values: tuple[float, ...], like: Tensor) -> list[Tensor]:
    """Return numbers as tensors: the exporter writes a Python float in single precision."""
    return [torch.scalar_tensor(number, dtype=like.dtype, device=like.device) for number in values]


_TWO_BY_ROOT_PI = 2 / math.sqrt(math.pi)

RULES = (
    Rule((aten.lgamma.default, aten.special_gammaln.default), lgamma, "The exporter has no translation."),
    Rule((aten.digamma.default, aten.special_psi.default, aten.special_digamma.default), digamma, "As for lgamma."),
    Rule((aten.erfinv.default, aten.special_erfinv.default), erfinv, "As for lgamma."),
    Rule((aten.erfc.default, aten.special_erfc.default), erfc, "The exporter writes 1 - Erf(x), 0 for x above 4."),
    Rule((aten.special_erfcx.default,), erfcx, "The exporter multiplies infinity by 0 for x above 9."),
    Rule((aten.erf.default, aten.special_erf.default), erf, "onnxruntime has no Erf in double precision.", is_double),
    Rule((aten.special_ndtr.default,), ndtr, "As for erf.", is_double),
    Rule((aten.gelu.default,), gelu, "As for erf.", is_double),
    Rule((aten.special_log_ndtr.default,), log_ndtr, "The exporter takes the logarithm of 0 below -6."),
)
