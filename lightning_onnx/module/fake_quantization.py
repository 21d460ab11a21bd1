"""Fake quantization of quantization-aware training: a file has the ranges that training has found."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.ao.quantization import FakeQuantizeBase

_FLAG = "is_quantizing"


def stop_observing(module: nn.Module) -> None:
    """Turn off the observers of a private copy: else each call moves the ranges, in eval mode too.

    What they decide by their flags becomes an attribute, which a trace can read.

    Args:
        module: A private copy with its weights.
    """
    quantization = sys.modules.get("torch.ao.quantization")
    if quantization is None:
        return  # a module that has no fake quantization needs no import
    for part in module.modules():
        if isinstance(part, quantization.FakeQuantizeBase) and not part.fake_quant_enabled.is_meta:
            part.disable_observer()
            part.__dict__[_FLAG] = bool(part.fake_quant_enabled.any())
            part.__dict__.pop("forward", None)
            if not _has_ranges(part):
                part.__dict__["forward"] = _refuse  # torch reads beyond the one scale that there is for all channels


def _has_ranges(part: nn.Module) -> bool:
    """Tell whether an observer has seen values; one that needs none counts."""
    lowest = getattr(getattr(part, "activation_post_process", None), "min_val", None)
    return not isinstance(lowest, Tensor) or (lowest.numel() > 0 and bool(lowest.isfinite().all()))


def _refuse(x: Tensor) -> Tensor:
    raise RuntimeError("the observer of a fake quantization has seen no values yet")


def quantized(self: FakeQuantizeBase, x: Tensor) -> Tensor:
    """Return what ``forward`` of a module of fake quantization does without its observer; flags are not tensors."""
    quantizer: Any = self
    if not quantizer.__dict__.get(_FLAG, True):
        return x
    low, high = int(quantizer.quant_min), int(quantizer.quant_max)
    found: Tensor
    if quantizer.is_per_channel:
        found = torch.fake_quantize_per_channel_affine(
            x, quantizer.scale, quantizer.zero_point, quantizer.ch_axis, low, high
        )
    else:
        found = torch.fake_quantize_per_tensor_affine(x, quantizer.scale, quantizer.zero_point, low, high)
    return found
