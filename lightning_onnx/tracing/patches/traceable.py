"""Shortcuts of torch that a trace cannot follow, replaced for the time of a trace by what they stand for.

The module that is the reference runs without these replacements.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.modules import transformer

from lightning_onnx.tracing.patches import functions, torchvision

_encoder_forward = nn.TransformerEncoder.forward
_module_to = nn.Module.to
_len = len


@contextlib.contextmanager
def traceable() -> Iterator[None]:
    """Trace ``nn.Transformer`` as its definition says, and ``len(tensor)`` as a size.

    The fast path of eval mode uses nested tensors, which ONNX lacks. A mask that looks causal is found by comparing its
    values; the mask itself gives the same result. ``len`` makes a number of Python of a dynamic dim. Distributions look
    at the values of their parameters, to say which are wrong.
    """
    from torch._dynamo.trace_rules import is_builtin_callable

    is_builtin_callable(len)  # dynamo lists Python's own functions when first asked, and would take ours for one
    with contextlib.ExitStack() as stack:
        stack.callback(Distribution.set_default_validate_args, Distribution._validate_args)
        Distribution.set_default_validate_args(False)
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(_replaced(transformer, "_detect_is_causal_mask", _is_causal))
        stack.enter_context(_replaced(nn.TransformerEncoder, "forward", _encode))
        stack.enter_context(_replaced(nn.Module, "to", _to))
        stack.enter_context(_replaced(builtins, "len", _length))
        for owner, name, value in (*functions.replacements(), *torchvision.replacements()):
            stack.enter_context(_replaced(owner, name, value))
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    original, inherited = getattr(owner, name), isinstance(owner, type) and name not in vars(owner)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, original)


def _length(value: Any, /) -> Any:
    return value.size(0) if isinstance(value, Tensor) and value.dim() else _len(value)


def _to(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Move nothing where all is there already: a trace cannot put other tensors into a module."""
    wanted: Any = torch._C._nn._parse_to(*args, **kwargs)
    device, dtype, _, layout = wanted
    if layout is None and all(
        (device is None or t.device.type == device.type)
        and (dtype is None or t.dtype == dtype or not (t.is_floating_point() or t.is_complex()))
        for t in (*self.parameters(), *self.buffers())
    ):
        return self
    return _module_to(self, *args, **kwargs)


def _is_causal(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:
    return is_causal is True


def _encode(
    self: Any, src: Tensor, mask: Any = None, src_key_padding_mask: Any = None, is_causal: Any = None
) -> Tensor:
    """Encode as eval mode does: its nested tensors leave zeros where the padding is, before the last norm."""
    nests = (
        getattr(self, "use_nested_tensor", False)
        and not self.layers[0].training
        and src.dim() == 3
        and src_key_padding_mask is not None
        and mask is None
    )
    norm, self.norm = self.norm, None
    try:
        out: Tensor = _encoder_forward(self, src, mask, src_key_padding_mask, is_causal)
    finally:
        self.norm = norm
    if nests:
        padded = src_key_padding_mask if src_key_padding_mask.dtype == torch.bool else src_key_padding_mask < 0
        number = padded.to(torch.int64)
        aligned = (number[:, 1:] >= number[:, :-1]).all()  # torch nests where the padding stands at the end alone
        out = out.masked_fill((padded & aligned).unsqueeze(-1), 0.0)
    return out if norm is None else norm(out)
