"""Resizing of images where onnxruntime picks other pixels than torch, or does not round averages of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

from lightning_onnx.tracing.rules.base import Call, Rule, aten, value

Size = int | torch.SymInt


def nearest(
    x: Tensor, output_size: Sequence[Size] | None, scale_factors: Sequence[float] | None, *, offset: float = 0.0
) -> Any:
    """Pick a source pixel for each output pixel, one dim after the other.

    The arithmetic is the same as in ``nearest_idx`` of torch's ``UpSampleKernel.cpp``: one float32 factor, one product.

    Args:
        x: An input of shape ``(batch, channels, ...)``.
        output_size: The new sizes, or ``None``.
        scale_factors: The factors of the sizes, or ``None``.
        offset: Added to an index before it is multiplied: 0.5 for ``"nearest-exact"``.
    """
    if not _differs(x, output_size, scale_factors):
        return NotImplemented
    for dim, (size, factor) in enumerate(_targets(x, output_size, scale_factors), start=2):
        step = _number(x.shape[dim], x) / _number(size, x) if factor is None else torch.tensor(1 / factor)
        index = ((torch.arange(size, device=x.device).to(torch.float32) + offset) * step).to(torch.int64)
        x = x.index_select(dim, index.clamp(max=x.shape[dim] - 1))
    return x


def nearest_exact(x: Tensor, output_size: Sequence[Size] | None, scale_factors: Sequence[float] | None) -> Any:
    """Pick the source pixel that contains the center of each output pixel."""
    return nearest(x, output_size, scale_factors, offset=0.5)


def _targets(
    x: Tensor, output_size: Sequence[Size] | None, scale_factors: Sequence[float] | None
) -> list[tuple[Size, float | None]]:
    """Return the size of each dim after the channels, and its factor if the call has one."""
    if output_size is not None:
        return [(size, None) for size in output_size]
    return [(torch.sym_int(n * f), f) for n, f in zip(x.shape[2:], scale_factors or (), strict=True)]


def _number(size: Size, like: Tensor) -> Tensor:
    return torch.scalar_tensor(size, dtype=torch.float32, device=like.device)


def _differs(x: Tensor, output_size: Sequence[Size] | None, scale_factors: Sequence[float] | None) -> bool:
    """Tell whether onnxruntime may pick another pixel in some dim: factors like 2 and 0.5 are exact either way."""
    if output_size is None:
        return not all(float(f).is_integer() or math.frexp(f)[0] == 0.5 for f in scale_factors or ())
    return not all(
        statically_known_true(out % size == 0) or _agrees(size, out)
        for size, out in zip(x.shape[2:], output_size, strict=True)
    )


def _agrees(size: Size, out: Size) -> bool:
    """Tell whether onnxruntime, which divides by a factor, picks the same pixels for known sizes."""
    if not (isinstance(size, int) and isinstance(out, int)):
        return False
    place = torch.arange(out, dtype=torch.float32)
    n, m = torch.tensor(float(size)), torch.tensor(float(out))
    return torch.equal((place * (n / m)).floor(), (place / (m / n)).floor())


def differs(call: Call) -> bool:
    """Tell whether onnxruntime may pick other pixels for a call."""
    x, sizes, factors = map(value, (*call.args, None, None)[:3])
    return _differs(x, sizes and [value(s) for s in sizes], factors)


def differs_by_factor(call: Call) -> bool:
    """Tell whether a call multiplies sizes by a fraction."""
    return call.args[1] is None and differs(call)


def bilinear(
    x: Tensor, output_size: Sequence[Size] | None, align_corners: bool, scale_factors: Sequence[float] | None
) -> Any:
    """Average the pixels of an image of integers in float32, and round."""
    if x.dtype != torch.uint8:
        return NotImplemented
    return _rounded(aten.upsample_bilinear2d.vec(x.to(torch.float32), output_size, align_corners, scale_factors))


def bicubic(
    x: Tensor, output_size: Sequence[Size] | None, align_corners: bool, scale_factors: Sequence[float] | None
) -> Any:
    """Average the pixels of an image of integers in float32, round, and clip what lies beyond them."""
    if x.dtype != torch.uint8:
        return NotImplemented
    return _rounded(aten.upsample_bicubic2d.vec(x.to(torch.float32), output_size, align_corners, scale_factors))


def _rounded(averages: Tensor) -> Tensor:
    return averages.round().clamp(0, 255).to(torch.uint8)


def of_pixels(call: Call) -> bool:
    """Tell whether an image consists of integers."""
    found = value(call.args[0])
    return isinstance(found, Tensor) and found.dtype == torch.uint8


RULES = (
    Rule(
        (aten.upsample_bilinear2d.vec,),
        bilinear,
        "onnxruntime cuts off the digits of averages where torch rounds them.",
        of_pixels,
    ),
    Rule((aten.upsample_bicubic2d.vec,), bicubic, "onnxruntime does not run it on integers.", of_pixels),
    Rule(
        (aten.upsample_nearest1d.vec, aten.upsample_nearest2d.vec, aten.upsample_nearest3d.vec),
        nearest,
        "onnxruntime divides by a rounded factor, but torch multiplies: it picks other pixels from 14 to 8 pixels.",
        differs,
    ),
    Rule(
        (
            aten._upsample_nearest_exact1d.vec,
            aten._upsample_nearest_exact2d.vec,
            aten._upsample_nearest_exact3d.vec,
        ),
        nearest_exact,
        "With a factor such as 1.3 onnxruntime picks other pixels at some sizes.",
        differs_by_factor,
    ),
)
