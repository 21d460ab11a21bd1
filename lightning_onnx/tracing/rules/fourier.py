"""What surrounds a Fourier transform: frequencies, and the shift of frequency zero to the centre and back."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_onnx.tracing.rules.base import Call, Rule, aten, value
from lightning_onnx.tracing.rules.elementwise import is_complex
from lightning_onnx.tracing.rules.frequencies import fftfreq, rfftfreq
from lightning_onnx.tracing.rules.indexing import roll


def fftshift(x: Tensor, dim: Sequence[int] | None = None) -> Tensor:
    """Roll each dim by half its size, rounded down."""
    dims = range(x.dim()) if dim is None else dim
    return roll(x, [x.shape[d] // 2 for d in dims], list(dims))


def ifftshift(x: Tensor, dim: Sequence[int] | None = None) -> Tensor:
    """Roll each dim by half its size, rounded up."""
    dims = range(x.dim()) if dim is None else dim
    return roll(x, [(x.shape[d] + 1) // 2 for d in dims], list(dims))


def shifts_by_sizes(call: Call) -> bool:
    """Tell whether the tensor is complex or has a free size: torch writes a roll by numbers that are not constant."""
    return is_complex(call) or not all(isinstance(n, int) for n in value(call.args[0]).shape)


RULES = (
    Rule((aten.fft_fftshift.default,), fftshift, "torch decomposes it after our rules, to a roll.", shifts_by_sizes),
    Rule((aten.fft_ifftshift.default,), ifftshift, "As for fftshift.", shifts_by_sizes),
    Rule((aten.fft_fftfreq.default,), fftfreq, "The exporter has no translation."),
    Rule((aten.fft_rfftfreq.default,), rfftfreq, "The exporter has no translation."),
)
