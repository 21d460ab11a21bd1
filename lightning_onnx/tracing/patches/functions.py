"""Functions that take a size for a number of Python, which would fix the dim; replaced while tracing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def replacements() -> Iterator[tuple[Any, str, Any]]:
    """Yield what to replace while tracing, as owner, name and replacement."""
    yield math, "sqrt", _of_size(math.sqrt, torch.sym_sqrt)
    yield math, "log", _of_size(math.log, _log)
    for name in ("log2", "log10", "exp"):
        yield math, name, _of_size(getattr(math, name), _as_tensor(getattr(torch, name)))
    yield torch, "linspace", linspace
    for owner in (torch, Tensor):
        yield owner, "chunk", chunk
        yield owner, "corrcoef", corrcoef
        yield owner, "cov", cov
        yield owner, "istft", istft
    for name, whole in {"max": _largest, "avg": _mean}.items():
        for dims in (1, 2, 3):
            original = getattr(functional, f"{name}_pool{dims}d")
            yield functional, f"{name}_pool{dims}d", _pool(original, whole, dims)


def _of_size(original: Any, symbolic: Any) -> Callable[..., Any]:
    def function(value: Any, /, *rest: Any) -> Any:
        traced = isinstance(value, (torch.SymInt, torch.SymFloat))
        return symbolic(value, *rest) if traced else original(value, *rest)

    return function


def _as_tensor(function: Callable[[Tensor], Tensor]) -> Callable[[Any], Tensor]:
    """Compute with a tensor of no dims, for which torch.export has operators."""
    return lambda value: function(torch.scalar_tensor(value, dtype=torch.float64))


def _log(value: Any, base: float = math.e) -> Tensor:
    return torch.scalar_tensor(value, dtype=torch.float64).log() / math.log(base)


_linspace = torch.linspace


def linspace(start: Any, end: Any, steps: Any, **options: Any) -> Tensor:
    """Return ``torch.linspace``, which takes no symbolic number of steps, as its definition says."""
    if not isinstance(steps, (torch.SymInt, Tensor)):
        return _linspace(start, end, steps, **options)
    intervals: Any = steps.clamp(min=2) - 1 if isinstance(steps, Tensor) else torch.sym_max(steps, 2) - 1
    dtype = options.pop("dtype", None) or torch.get_default_dtype()
    numbers: Tensor = torch.arange(steps, dtype=dtype, **options)  # type: ignore[arg-type]
    return numbers * ((end - start) / intervals) + start  # type: ignore[no-any-return]


_cov = torch.cov


def cov(input: Tensor, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
    """Return ``torch.cov``, which looks at values to say that there are too few of them."""
    if fweights is not None or aweights is not None or input.is_complex():
        return _cov(input, correction=correction, fweights=fweights, aweights=aweights)
    rows = input if input.is_floating_point() else input.to(torch.get_default_dtype())
    rows = rows if rows.dim() == 2 else rows.reshape(1, -1)
    centred = rows - rows.mean(1, keepdim=True)
    number: Any = torch.sym_max(rows.shape[1] - correction, 0)
    found: Tensor = centred @ centred.mT / number
    return found.reshape(()) if rows.shape[0] == 1 else found


def corrcoef(input: Tensor) -> Tensor:
    """Return ``torch.corrcoef``, for the same reason."""
    found = cov(input)
    if found.dim() == 0:
        return found / found
    scale = found.diagonal().sqrt()
    return (found / scale.unsqueeze(1) / scale).clamp(-1, 1)


_chunk = torch.chunk


def chunk(input: Tensor, chunks: int, dim: int = 0) -> Sequence[Tensor]:
    """Return ``torch.chunk``, of which the exporter writes an operator that its optimizer breaks on."""
    size: Any = input.shape[dim]
    if not isinstance(size, torch.SymInt):
        return _chunk(input, chunks, dim)
    each = (size + chunks - 1) // chunks
    number = len(_chunk(input, chunks, dim))  # fewer where the dim is short
    ends = [torch.sym_min(each * i, size) for i in range(number + 1)]
    return tuple(input.narrow(dim, start, end - start) for start, end in itertools.pairwise(ends))


_istft = torch.istft


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: Any = None,
    return_complex: bool = False,
) -> Tensor:
    """Return ``torch.istft`` as documented; its own code takes no symbolic length, and looks at values."""
    if return_complex or onesided is False:
        return _istft(
            input, n_fft, hop_length, win_length, window, center, normalized, onesided, length, return_complex
        )
    hop, width = hop_length or n_fft // 4, win_length or n_fft
    weights = torch.ones(width, dtype=input.dtype.to_real(), device=input.device) if window is None else window
    left = (n_fft - width) // 2
    weights = functional.pad(weights, (left, n_fft - width - left))
    frames = torch.fft.irfft(input.transpose(-1, -2), n=n_fft, norm="ortho" if normalized else "backward") * weights
    number = frames.shape[-2]
    place = torch.arange(number, device=input.device).unsqueeze(1) * hop + torch.arange(n_fft, device=input.device)
    size = n_fft + hop * (number - 1)

    def added(parts: Tensor) -> Tensor:
        return parts.new_zeros(*parts.shape[:-2], size).index_add(-1, place.flatten(), parts.flatten(-2))

    whole, envelope = added(frames), added((weights * weights).expand(number, n_fft))
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else size - start
    found = whole[..., start:end] / envelope[start:end]
    return found if length is None else functional.pad(found, (0, torch.sym_max(end - size, 0)))


def _pool(original: Any, whole: Callable[[Tensor, list[int]], Tensor], dims: int) -> Callable[..., Any]:
    """Pool a whole image or sequence by a reduction; the exporters take a kernel's size for a constant."""

    def pool(input: Tensor, kernel_size: Any, *args: Any, **options: Any) -> Any:
        kernel = kernel_size if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * dims
        traced = isinstance(kernel_size, torch.Size) or any(isinstance(k, (torch.SymInt, Tensor)) for k in kernel)
        if (
            traced
            and not args
            and not options
            and all(k == s for k, s in zip(kernel, input.shape[-dims:], strict=True))
        ):
            return whole(input, list(range(-dims, 0)))
        return original(input, kernel_size, *args, **options)

    return pool


def _largest(input: Tensor, dims: list[int]) -> Tensor:
    return input.amax(dims, keepdim=True)


def _mean(input: Tensor, dims: list[int]) -> Tensor:
    return input.mean(dims, keepdim=True)
