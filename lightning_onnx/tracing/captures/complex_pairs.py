"""Complex tensors as pairs of real ones, operator by operator, for exporters that know few complex operators."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

aten = torch.ops.aten


class Pair(NamedTuple):
    """A complex tensor."""

    re: Tensor
    im: Tensor


def is_pair(value: Any) -> bool:
    """Tell whether a value stands for a complex tensor."""
    return isinstance(value, Pair)


def split(tensor: Tensor) -> Pair:
    """Return a complex tensor's parts."""
    parts = torch.view_as_real(tensor.resolve_conj())
    return Pair(parts.select(-1, 0), parts.select(-1, 1))


def join(pair: Pair) -> Tensor:
    """Return the complex tensor."""
    return torch.view_as_complex(torch.stack([pair.re, pair.im], -1))


def run(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator on pairs, and on anything that would make a complex tensor.

    Raises:
        NotImplementedError: If the operator has no form for pairs.
    """
    if target is operator.getitem:
        return args[0][args[1]]
    if target in _RULES:
        return _RULES[target](*args, **kwargs)
    dtype = kwargs.get("dtype")
    makes = dtype is not None and dtype.is_complex
    if not makes and not any(is_pair(a) or isinstance(a, complex) for a in _leaves((args, kwargs))):
        return target(*args, **kwargs)
    if dtype is not None and makes:
        kwargs = kwargs | {"dtype": dtype.to_real()}
    if target in _MAKERS:
        real = target(*pytree.tree_map(_real, args, is_leaf=is_pair), **kwargs)
        if any(isinstance(a, complex) for a in args):
            return _by_parts(target, args, kwargs)
        return Pair(real, torch.zeros_like(real)) if makes or dtype is None else real
    if target in _BY_PARTS:
        return _by_parts(target, args, kwargs)
    raise NotImplementedError(f"{target} has no form for complex tensors")


def _leaves(value: Any) -> list[Any]:
    return pytree.tree_leaves(value, is_leaf=is_pair)


def _real(value: Any) -> Any:
    return value.re if is_pair(value) else value.real if isinstance(value, complex) else value


def _imaginary(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.zeros_like(value) if value.is_floating_point() else value
    return value.im if is_pair(value) else value.imag if isinstance(value, (complex, float)) else value


def _by_parts(target: Any, args: Any, kwargs: Any) -> Any:
    """Run an operator that treats real and imaginary part alike."""
    re = target(*pytree.tree_map(_real, args, is_leaf=is_pair), **pytree.tree_map(_real, kwargs, is_leaf=is_pair))
    im = target(
        *pytree.tree_map(_imaginary, args, is_leaf=is_pair), **pytree.tree_map(_imaginary, kwargs, is_leaf=is_pair)
    )
    if isinstance(re, (list, tuple)):
        return [Pair(a, b) for a, b in zip(re, im, strict=True)]
    return Pair(re, im)


def _pair(value: Any) -> Pair:
    if is_pair(value):
        pair: Pair = value
        return pair
    return Pair(_real(value), 0.0 if not isinstance(value, complex) else value.imag)  # type: ignore[arg-type]


def _linear(target: Any) -> Callable[..., Any]:
    def rule(a: Any, b: Any, alpha: Any = 1) -> Any:
        if not any(is_pair(v) or isinstance(v, complex) for v in (a, b)):
            return target(a, b, alpha=alpha)
        x, y = _pair(a), _pair(b)
        re, im = (target(torch.as_tensor(p), q, alpha=alpha) for p, q in ((x.re, y.re), (x.im, y.im)))
        return Pair(re, im.expand_as(re))

    return rule


def _masked_fill(z: Any, mask: Tensor, value: Any) -> Any:
    if not is_pair(z):
        return torch.masked_fill(z, mask, value)
    fill = _pair(value)
    return Pair(z.re.masked_fill(mask, fill.re), z.im.masked_fill(mask, fill.im))


def _bilinear(target: Any) -> Callable[..., Any]:
    def rule(a: Any, b: Any) -> Any:
        if is_pair(a) and is_pair(b):
            return Pair(target(a.re, b.re) - target(a.im, b.im), target(a.re, b.im) + target(a.im, b.re))
        if isinstance(b, complex) or isinstance(a, complex):
            x, y = _pair(a), _pair(b)
            return Pair(x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re)
        if is_pair(a):
            return Pair(target(a.re, b), target(a.im, b))
        return Pair(target(a, b.re), target(a, b.im)) if is_pair(b) else target(a, b)

    return rule


_mul = _bilinear(torch.mul)


def _div(a: Any, b: Any, **options: Any) -> Any:
    if not is_pair(b) and not isinstance(b, complex):
        return Pair(a.re / b, a.im / b) if is_pair(a) else aten.div(a, b, **options)
    return _mul(a, _reciprocal(_pair(b)))


def _reciprocal(z: Any) -> Any:
    if not is_pair(z):
        return torch.reciprocal(z)
    size = z.re * z.re + z.im * z.im
    return Pair(z.re / size, -z.im / size)


def _conj(z: Any) -> Any:
    return Pair(z.re, -z.im) if is_pair(z) else z


def _abs(z: Any) -> Any:
    return torch.sqrt(z.re * z.re + z.im * z.im) if is_pair(z) else torch.abs(z)


def _exp(z: Any) -> Any:
    return _polar(z.re.exp(), z.im) if is_pair(z) else torch.exp(z)


def _polar(size: Tensor, angle: Tensor) -> Pair:
    return Pair(size * angle.cos(), size * angle.sin())


def _pow(z: Any, exponent: Any) -> Any:
    if not is_pair(z):
        return torch.pow(z, exponent)
    if exponent not in (1, 2, 3, 4):
        raise NotImplementedError(f"a complex power of {exponent}")
    power = z
    for _ in range(int(exponent) - 1):
        power = _mul(power, z)
    return power


def _real_to_complex(x: Tensor, dim: Sequence[int], norm: int, onesided: bool) -> Pair:
    return split(aten._fft_r2c(x, dim, norm, onesided))


def _complex_to_complex(z: Any, dim: Sequence[int], norm: int, forward: bool) -> Pair:
    return split(aten._fft_c2c(join(z), dim, norm, forward))


def _complex_to_real(z: Pair, dim: Sequence[int], norm: int, size: Any) -> Tensor:
    """Transform back by a matrix of the last dim: onnxruntime's DFT takes no half spectrum."""
    if len(dim) > 1:
        z = _complex_to_complex(z, dim[:-1], norm, False)
    re, im = (part.transpose(dim[-1], -1) for part in z)
    frequency = torch.arange(re.shape[-1], device=re.device).unsqueeze(1)
    time = torch.arange(size, device=re.device)
    angle = torch.remainder(frequency * time, size).to(re.dtype) * (2 * math.pi / size)
    twice = torch.where((frequency == 0) | (2 * frequency == size), 1.0, 2.0).to(re.dtype)
    scale: Any = {0: 1, 1: torch.sym_sqrt(size), 2: size}[norm]
    found: Tensor = ((re @ (twice * angle.cos())) - (im @ (twice * angle.sin()))) / scale
    return found.transpose(dim[-1], -1)


def _to_copy(z: Any, **options: Any) -> Any:
    dtype = options.get("dtype")
    if dtype is None or dtype.is_complex:
        if dtype is not None:
            options["dtype"] = dtype.to_real()
        if is_pair(z) or dtype is not None:
            re = aten._to_copy(_real(z), **options)
            return Pair(re, aten._to_copy(z.im, **options) if is_pair(z) else torch.zeros_like(re))
    return aten._to_copy(_real(z), **options)


_RULES: dict[Any, Callable[..., Any]] = {
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
    aten.angle.default: lambda z: torch.atan2(z.im, z.re) if is_pair(z) else torch.angle(z),
    aten.real.default: _real,
    aten.imag.default: lambda z: z.im,
    aten.complex.default: Pair,
    aten.view_as_real.default: lambda z: torch.stack([z.re, z.im], -1),
    aten.view_as_complex.default: lambda x: Pair(x.select(-1, 0), x.select(-1, 1)),
    aten._fft_r2c.default: _real_to_complex,
    aten._fft_c2c.default: _complex_to_complex,
    aten._fft_c2r.default: _complex_to_real,
    aten._to_copy.default: _to_copy,
}

_MAKERS = frozenset(
    {
        aten.full.default,
        aten.zeros.default,
        aten.new_zeros.default,
        aten.empty.memory_format,
        aten.zeros_like.default,
        aten.full_like.default,
        aten.new_full.default,
        aten.scalar_tensor.default,
    }
)
"""Operators that make a complex tensor of a number, by their ``dtype``."""

_NAMES = """
    neg view _unsafe_view reshape permute transpose.int unsqueeze
    squeeze squeeze.dim squeeze.dims expand slice.Tensor select.int index.Tensor index_select cat stack clone
    alias detach flip roll constant_pad_nd sum sum.dim_IntList mean mean.dim slice_scatter select_scatter
    index_put where.self copy repeat unbind.int split_with_sizes split.Tensor gather
    lift_fresh_copy cumsum diagonal masked_fill.Tensor as_strided scatter.src tril triu t
"""

_BY_PARTS = frozenset(
    getattr(getattr(aten, name.partition(".")[0]), name.partition(".")[2] or "default") for name in _NAMES.split()
)
"""Operators that treat both parts alike; a real number or tensor among their arguments has no imaginary part."""
