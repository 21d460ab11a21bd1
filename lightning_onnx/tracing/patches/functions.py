"""Replacements for functions that convert a size to a Python number, which would make the dim constant."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence, Sized
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def of_size(original: Callable[..., Any], symbolic: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a number that also takes a size of the traced call.

    Args:
        original: Computes with Python numbers.
        symbolic: Computes with symbols.
    """

    def function(value: Any, /, *rest: Any, **options: Any) -> Any:
        traced = isinstance(value, (torch.SymInt, torch.SymFloat))
        return symbolic(value, *rest, **options) if traced else original(value, *rest, **options)

    return function


def by_tensor(function: Callable[[Tensor], Tensor]) -> Callable[[torch.SymInt | torch.SymFloat], Tensor]:
    """Return a function that computes with a float64 tensor of no dims, for which torch.export has operators."""
    return lambda value: function(torch.scalar_tensor(value, dtype=torch.float64))


def log(value: torch.SymInt | torch.SymFloat, base: float = math.e) -> Tensor:
    """Return the logarithm of a symbol as a float64 tensor of no dims."""
    return torch.scalar_tensor(value, dtype=torch.float64).log() / math.log(base)


_len = len


def length(value: Sized, /) -> int | torch.SymInt:
    """Return ``len(value)``, that of a tensor as a size."""
    return value.size(0) if isinstance(value, Tensor) and value.dim() else _len(value)


_linspace = torch.linspace


def linspace(start: float | Tensor, end: float | Tensor, steps: int | torch.SymInt | Tensor, **options: Any) -> Tensor:
    """Return ``torch.linspace`` by its definition, which holds for a symbolic number of steps too."""
    is_dynamo = torch.compiler.is_dynamo_compiling()  # there a size is an int
    if not isinstance(steps, (torch.SymInt, Tensor)) and not is_dynamo:
        return _linspace(start, end, steps, **options)
    intervals: Any = steps.clamp(min=2) - 1 if isinstance(steps, Tensor) else torch.sym_max(steps, 2) - 1
    dtype = options.pop("dtype", None) or torch.get_default_dtype()
    exact = dtype if dtype.is_floating_point else torch.float64
    numbers: Tensor = torch.arange(steps, dtype=exact, **options)  # type: ignore[arg-type]
    step: Any = (end - start) / intervals
    from_end = end - step * (intervals - numbers)  # torch, too, counts the second half from there: the end is exact
    return torch.where(numbers * 2 < intervals, start + step * numbers, from_end).to(dtype)


_cov = torch.cov


def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """Return ``torch.cov``, without its warning about too few columns, for which it reads a value."""
    if fweights is not None or aweights is not None or input.is_complex():
        return _cov(input, correction=correction, fweights=fweights, aweights=aweights)
    rows = input if input.is_floating_point() else input.to(torch.get_default_dtype())
    rows = rows if rows.dim() == 2 else rows.reshape(1, -1)
    centered = rows - rows.mean(1, keepdim=True)
    number: Any = torch.sym_max(rows.shape[1] - correction, 0)
    found: Tensor = centered @ centered.mT / number
    return found.reshape(()) if rows.shape[0] == 1 else found


def corrcoef(input: Tensor) -> Tensor:
    """Return ``torch.corrcoef``, which calls ``torch.cov``."""
    found = cov(input)
    if found.dim() == 0:
        return found / found
    scale = found.diagonal().sqrt()
    return (found / scale.unsqueeze(1) / scale).clamp(-1, 1)


_chunk = torch.chunk


def chunk(input: Tensor, chunks: int, dim: int = 0) -> Sequence[Tensor]:
    """Return ``torch.chunk`` as slices; the exporter writes a sequence."""
    size: Any = input.shape[dim]
    if not isinstance(size, torch.SymInt):
        return _chunk(input, chunks, dim)
    each = (size + chunks - 1) // chunks
    number = len(_chunk(input, chunks, dim))  # fewer if the dim is short
    ends = [torch.sym_min(each * i, size) for i in range(number + 1)]
    return tuple(input.narrow(dim, start, end - start) for start, end in itertools.pairwise(ends))


_tensor_split: Callable[..., Sequence[Tensor]] = torch.tensor_split
"""Its declared type has no call that fits all."""


def tensor_split(input: Tensor, *args: Any, **options: Any) -> Sequence[Tensor]:
    """Return ``torch.tensor_split`` into a number of parts as slices; the first parts may be longer by one."""
    given = [*args, *(options[key] for key in ("indices_or_sections", "sections") if key in options)]
    dim = options.get("dim", args[1] if len(args) > 1 else 0)
    parts: Any = given[0] if given else None
    size: Any = input.shape[dim]
    if not (isinstance(size, torch.SymInt) and type(parts) is int):
        return _tensor_split(input, *args, **options)
    starts = [size // parts * i + torch.sym_min(size % parts, i) for i in range(parts)]
    return tuple(input.narrow(dim, start, end - start) for start, end in itertools.pairwise([*starts, size]))


_diagonal = torch.diagonal
_diag: Callable[..., Tensor] = torch.diag
"""Its declared type has no sizes of a graph."""


def diagonal(input: Tensor, offset: int | torch.SymInt = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return ``torch.diagonal``, for an offset that is a size too: that of the part which begins there."""
    if not isinstance(offset, torch.SymInt):
        return _diagonal(input, offset, dim1, dim2)
    dim, start = (dim2, offset) if offset >= 0 else (dim1, -offset)
    return _diagonal(input.narrow(dim, start, input.shape[dim] - start), 0, dim1, dim2)


def diag(input: Tensor, diagonal: int | torch.SymInt = 0) -> Tensor:
    """Return ``torch.diag``, for the offset of a matrix's diagonal that is a size too."""
    if input.dim() == 2 and isinstance(diagonal, torch.SymInt):
        return _of_matrix(input, diagonal)
    return _diag(input, diagonal)


_of_matrix = diagonal


_vander: Callable[..., Tensor] = torch.vander
"""Its declared type has no sizes of a graph."""


def vander(x: Tensor, N: int | torch.SymInt | None = None, increasing: bool = False) -> Tensor:
    """Return ``torch.vander`` as powers; its own code takes the number of rows as a Python number."""
    if x.is_complex():
        return _vander(x, N, increasing)
    columns: Any = x.shape[0] if N is None else N
    exponents = torch.arange(columns, device=x.device)
    bases = x if x.is_floating_point() else x.long()
    return bases.unsqueeze(-1) ** (exponents if increasing else columns - 1 - exponents)


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
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """Return ``torch.istft`` as documented; its own code accepts no symbolic length, and checks values."""
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


def pool(
    original: Callable[..., Tensor], whole: Callable[[Tensor, list[int]], Tensor], dims: int
) -> Callable[..., Tensor]:
    """Return a pooling that reduces a whole image or sequence; the exporters need a constant kernel size.

    Args:
        original: The pooling of torch.
        whole: Reduces some dims of a tensor to size 1.
        dims: The number of dims that are pooled: the last ones.
    """

    def pooled(input: Tensor, kernel_size: Any, *args: Any, **options: Any) -> Tensor:
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

    return pooled


def largest(input: Tensor, dims: list[int]) -> Tensor:
    """Return the maximum over some dims, which keep size 1."""
    return input.amax(dims, keepdim=True)


def mean(input: Tensor, dims: list[int]) -> Tensor:
    """Return the mean over some dims, which keep size 1."""
    return input.mean(dims, keepdim=True)
