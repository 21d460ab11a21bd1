"""Complex operators written with operators on real tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_onnx.tracing.captures.complex_pairs import Pair, Value, join, pair_of, split

aten = torch.ops.aten


def _is_complex(value: Value) -> bool:
    return isinstance(value, (Pair, complex))


def _linear(target: Callable[..., Tensor]) -> Callable[..., Tensor | Pair]:
    """Return the rule for an operator that adds or subtracts."""

    def rule(a: Value, b: Value, alpha: complex = 1) -> Tensor | Pair:
        if not _is_complex(a) and not _is_complex(b):
            return target(a, b, alpha=alpha)
        x, y = pair_of(a), pair_of(b)
        re, im = (target(torch.as_tensor(p), q, alpha=alpha) for p, q in ((x.re, y.re), (x.im, y.im)))
        return Pair(re, im.expand_as(re))

    return rule


def _bilinear(target: Callable[..., Tensor]) -> Callable[..., Tensor | Pair]:
    """Return the rule for an operator that multiplies numbers or matrices."""

    def rule(a: Value, b: Value) -> Tensor | Pair:
        if isinstance(a, Pair) and isinstance(b, Pair):
            return Pair(target(a.re, b.re) - target(a.im, b.im), target(a.re, b.im) + target(a.im, b.re))
        if isinstance(a, complex) or isinstance(b, complex):
            x, y = pair_of(a), pair_of(b)
            return Pair(x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re)
        if isinstance(a, Pair):
            return Pair(target(a.re, b), target(a.im, b))
        return Pair(target(a, b.re), target(a, b.im)) if isinstance(b, Pair) else target(a, b)

    return rule


_mul = _bilinear(torch.mul)


def _masked_fill(z: Tensor | Pair, mask: Tensor, value: Value) -> Tensor | Pair:
    if not isinstance(z, Pair):
        return torch.masked_fill(z, mask, value)  # type: ignore[arg-type]
    fill = pair_of(value)
    return Pair(z.re.masked_fill(mask, fill.re), z.im.masked_fill(mask, fill.im))


def _div(a: Value, b: Value, **options: Any) -> Tensor | Pair:
    if isinstance(b, (Pair, complex)):
        return _mul(a, _reciprocal(pair_of(b)))
    quotient: Tensor | Pair = Pair(a.re / b, a.im / b) if isinstance(a, Pair) else aten.div(a, b, **options)
    return quotient


def _reciprocal(z: Tensor | Pair) -> Tensor | Pair:
    if not isinstance(z, Pair):
        return torch.reciprocal(z)
    square = z.re * z.re + z.im * z.im
    return Pair(z.re / square, -z.im / square)


def _conj(z: Tensor | Pair) -> Tensor | Pair:
    return Pair(z.re, -z.im) if isinstance(z, Pair) else z


def _abs(z: Tensor | Pair) -> Tensor:
    return torch.sqrt(z.re * z.re + z.im * z.im) if isinstance(z, Pair) else torch.abs(z)


def _angle(z: Tensor | Pair) -> Tensor:
    return torch.atan2(z.im, z.re) if isinstance(z, Pair) else torch.angle(z)


def _exp(z: Tensor | Pair) -> Tensor | Pair:
    return _polar(z.re.exp(), z.im) if isinstance(z, Pair) else torch.exp(z)


def _polar(absolute: Tensor, angle: Tensor) -> Pair:
    return Pair(absolute * angle.cos(), absolute * angle.sin())


def _pow(z: Tensor | Pair, exponent: float) -> Tensor | Pair:
    if not isinstance(z, Pair):
        return torch.pow(z, exponent)
    if exponent not in (1, 2, 3, 4):
        raise NotImplementedError(f"a complex power of {exponent}")
    power: Tensor | Pair = z
    for _ in range(int(exponent) - 1):
        power = _mul(power, z)
    return power


def _real(z: Tensor | Pair) -> Tensor:
    return z.re if isinstance(z, Pair) else z


def _imag(z: Pair) -> Tensor:
    return z.im


def _view_as_real(z: Pair) -> Tensor:
    return torch.stack([z.re, z.im], -1)


def _view_as_complex(x: Tensor) -> Pair:
    return Pair(x.select(-1, 0), x.select(-1, 1))


def _real_to_complex(x: Tensor, dim: Sequence[int], norm: int, onesided: bool) -> Pair:
    """Transform; frequencies that are real are so exactly, as in torch: their angle is 0 or pi, never -pi."""
    re, im = split(aten._fft_r2c(x, dim, norm, onesided))
    if len(dim) > 1:
        return Pair(re, im)
    size = x.shape[dim[0]]
    frequency = torch.arange(re.shape[dim[0]], device=x.device)
    is_real = (frequency == 0) | (2 * frequency == size)
    along = is_real.reshape(-1, *[1] * (x.dim() - 1 - dim[0] % x.dim()))
    return Pair(re, torch.where(along, 0.0, im))


def _complex_to_complex(z: Pair, dim: Sequence[int], norm: int, forward: bool) -> Pair:
    return split(aten._fft_c2c(join(z), dim, norm, forward))


def _complex_to_real(z: Pair, dim: Sequence[int], norm: int, size: int | torch.SymInt) -> Tensor:
    """Transform back with a matrix along the last dim: onnxruntime's DFT does not take half of a spectrum."""
    if len(dim) > 1:
        z = _complex_to_complex(z, dim[:-1], norm, False)
    re, im = (part.transpose(dim[-1], -1) for part in z)
    frequency = torch.arange(re.shape[-1], device=re.device).unsqueeze(1)
    time = torch.arange(size, device=re.device)
    angle: Any = torch.remainder(frequency * time, size).to(re.dtype) * (2 * math.pi / size)
    twice = torch.where((frequency == 0) | (2 * frequency == size), 1.0, 2.0).to(re.dtype)
    scale: Any = {0: 1, 1: torch.sym_sqrt(size), 2: size}[norm]
    found: Tensor = ((re @ (twice * angle.cos())) - (im @ (twice * angle.sin()))) / scale
    return found.transpose(dim[-1], -1)


def _to_copy(z: Tensor | Pair, **options: Any) -> Tensor | Pair:
    dtype: torch.dtype | None = options.get("dtype")
    if dtype is None or dtype.is_complex:
        if dtype is not None:
            options["dtype"] = dtype.to_real()
        if isinstance(z, Pair) or dtype is not None:
            re = aten._to_copy(_real(z), **options)
            return Pair(re, aten._to_copy(z.im, **options) if isinstance(z, Pair) else torch.zeros_like(re))
    copied: Tensor = aten._to_copy(_real(z), **options)
    return copied


RULES: Mapping[object, Callable[..., Tensor | Pair]] = {
    aten.add.Tensor: _linear(torch.add),
    aten.add.Scalar: _linear(torch.add),
    aten.sub.Tensor: _linear(torch.sub),
    aten.sub.Scalar: _linear(torch.sub),
    aten.masked_fill.Scalar: _masked_fill,
    aten.mul.Tensor: _mul,
    aten.mul.Scalar: _mul,
    aten.bmm.default: _bilinear(torch.bmm),
    aten.mm.default: _bilinear(torch.mm),
    aten.div.Tensor: _div,
    aten.div.Scalar: _div,
    aten.reciprocal.default: _reciprocal,
    aten._conj.default: _conj,
    aten.conj.default: _conj,
    aten._conj_physical.default: _conj,
    aten.abs.default: _abs,
    aten.exp.default: _exp,
    aten.polar.default: _polar,
    aten.pow.Tensor_Scalar: _pow,
    aten.angle.default: _angle,
    aten.real.default: _real,
    aten.imag.default: _imag,
    aten.complex.default: Pair,
    aten.view_as_real.default: _view_as_real,
    aten.view_as_complex.default: _view_as_complex,
    aten._fft_r2c.default: _real_to_complex,
    aten._fft_c2c.default: _complex_to_complex,
    aten._fft_c2r.default: _complex_to_real,
    aten._to_copy.default: _to_copy,
}
"""Operators that compute something else on complex tensors than on each of their parts."""
