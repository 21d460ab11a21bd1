"""Parts of ``torch.nn`` that a trace cannot follow, replaced by equal code that it can follow.

The reference module runs without these replacements.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_encoder_forward = nn.TransformerEncoder.forward
_module_to = nn.Module.to


def to(self: nn.Module, *args: object, **kwargs: object) -> nn.Module:
    """Call ``Module.to`` only if something has to move: a trace cannot put other tensors into a module."""
    device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)  # type: ignore[call-overload]
    if layout is None and all(
        (device is None or t.device.type == device.type)
        and (dtype is None or t.dtype == dtype or not (t.is_floating_point() or t.is_complex()))
        for t in (*self.parameters(), *self.buffers())
    ):
        return self
    return _module_to(self, *args, **kwargs)  # type: ignore[call-overload, no-any-return]


def fast_path_is_off() -> bool:
    """Return False: no layer takes its fast path."""
    return False


def is_causal_as_told(mask: Tensor | None, is_causal: bool | None = None, size: int | None = None) -> bool:
    """Return whether the caller says that a mask is causal, without comparing its values with those of one."""
    return is_causal is True


def encode(
    self: nn.TransformerEncoder,
    src: Tensor,
    mask: Tensor | None = None,
    src_key_padding_mask: Tensor | None = None,
    is_causal: bool | None = None,
) -> Tensor:
    """Encode as eval mode does: its nested tensors leave zeros at the padding, before the last norm.

    Args:
        self: The encoder.
        src: Float tensor of shape (batch, length, features), or without the batch.
        mask: The attention mask, of shape (length, length).
        src_key_padding_mask: Bool tensor of shape (batch, length), true where the padding is, or the float one that is
            added to the scores.
        is_causal: Whether ``mask`` is causal.
    """
    norm, self.norm = self.norm, None
    try:
        out: Tensor = _encoder_forward(self, src, mask, src_key_padding_mask, is_causal)
    finally:
        self.norm = norm
    if src_key_padding_mask is not None and mask is None and _uses_nested_tensors(self, src):
        padded = src_key_padding_mask if src_key_padding_mask.dtype == torch.bool else src_key_padding_mask < 0
        number = padded.to(torch.int64)
        aligned = (number[:, 1:] >= number[:, :-1]).all()  # torch nests only if all padding is at the end
        out = out.masked_fill((padded & aligned).unsqueeze(-1), 0.0)
    return out if norm is None else norm(out)


def _uses_nested_tensors(encoder: nn.TransformerEncoder, src: Tensor) -> bool:
    return getattr(encoder, "use_nested_tensor", False) and not encoder.layers[0].training and src.dim() == 3
