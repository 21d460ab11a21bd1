"""Other inputs at the traced sizes: from other calls, and changed in many ways."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.resizing import kept_whole, resize
from lightning_onnx.module.calls.signature import BATCH

Tensors = tuple[Tensor, ...]

_WINDOWS = 16
"""Maximum number of pieces of observed batches to try."""

_DRAWN = 12
"""Number of random inputs to try."""

_TOKENS = 6
"""Maximum number of integers to try; each fills the whole input."""


@dataclasses.dataclass(frozen=True)
class Move:
    """Inputs to try.

    Attributes:
        how: Description of the inputs.
        tensors: The inputs.
        beyond: Whether floats lie outside the observed range.
        is_uniform: Whether they are so uniform that both branches may well give the same result.
    """

    how: str
    tensors: Tensors
    beyond: bool = False
    is_uniform: bool = False

    @property
    def family(self) -> str:
        """``how`` without its number: the same for related inputs."""
        return self.how.partition(" (")[0]


def moves(request: Request) -> Iterator[Move]:
    """Yield inputs at the traced sizes, first the observed ones.

    Indices, lengths and group numbers are only replaced by other integers of the observed range or their neighbours,
    never by negative ones; bytes stay as they are.

    Args:
        request: The request, with the traced inputs and the observed calls.
    """
    observed = list(itertools.islice(_windows(request), _WINDOWS))
    span = _Span.of([*observed, request.tensors], request)
    for number, tensors in enumerate(observed, 1):
        yield Move(f"other observed rows ({number})", tensors)
    if len(observed) > 1:
        for weight in (0.25, 0.5, 0.75):
            yield Move("between two observed calls", _between(observed[0], observed[-1], weight))
    starts = [request.tensors, *observed[-1:]]
    for start in starts:
        for how, change, is_uniform in _FLOATS:
            changed = _changed(start, change)
            if changed is not None:
                yield Move(how, changed, span.is_exceeded_by(changed), is_uniform)
    for number in range(_DRAWN):
        changed = _changed(request.tensors, _drawn((1, 3, 10)[number % 3], number))
        if changed is not None:
            yield Move("random values", changed, span.is_exceeded_by(changed))
    for index, tensor in enumerate(request.tensors):
        for how, other in _others(tensor):
            changed = (*request.tensors[:index], other, *request.tensors[index + 1 :])
            yield Move(f"input '{request.input_names[index]}' {how}", changed)


def moved(request: Request, tensors: Sequence[Tensor]) -> Move:
    """Return the move for inputs that were changed along a gradient."""
    span = _Span.of([request.tensors], request)
    return Move("moved towards the condition", tuple(tensors), span.is_exceeded_by(tensors))


@dataclasses.dataclass(frozen=True)
class _Span:
    """The smallest and the largest observed value of each input."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, calls: Sequence[Sequence[Tensor]], request: Request) -> _Span:
        every = [*calls, *(sample.tensors for sample in request.samples)]
        columns = [[c[i] for c in every if i < len(c) and c[i].numel()] for i in range(len(request.tensors))]
        low = tuple(min((_extreme(t, torch.amin) for t in column), default=0.0) for column in columns)
        high = tuple(max((_extreme(t, torch.amax) for t in column), default=0.0) for column in columns)
        return cls(low, high)

    def is_exceeded_by(self, tensors: Sequence[Tensor]) -> bool:
        """Tell whether a float lies outside the range."""
        return any(
            t.is_floating_point()
            and t.numel()
            and not (low <= _extreme(t, torch.amin) and _extreme(t, torch.amax) <= high)
            for t, low, high in zip(tensors, self.low, self.high, strict=True)
        )


def _extreme(tensor: Tensor, extreme: Callable[[Tensor], Tensor]) -> float:
    return float(extreme(torch.view_as_real(tensor) if tensor.is_complex() else tensor.to(torch.float64)))


def _windows(request: Request) -> Iterator[Tensors]:
    """Yield pieces of the observed calls at the traced sizes."""
    traced = request.sizes(request.tensors)
    for sample in request.samples:
        if not request.fits(sample.tensors):
            continue
        sizes = request.sizes(sample.tensors)
        rows = sizes.get(BATCH, 1)
        step = 1 if BATCH not in traced or BATCH in kept_whole(sample.tensors, request.axes) else traced[BATCH]
        starts = range(0, rows, step) if step < rows and BATCH in traced else (0,)
        for start in starts:
            tensors = tuple(_rolled(t, axes, start) for t, axes in zip(sample.tensors, request.axes, strict=True))
            tensors = resize(tensors, request.axes, traced)
            if any(not torch.equal(a, b) for a, b in zip(tensors, request.tensors, strict=True)):
                yield tensors


def _rolled(tensor: Tensor, axes: dict[int, str], rows: int) -> Tensor:
    """Move rows to the front."""
    for dim, name in axes.items():
        if name == BATCH and rows:
            tensor = tensor.roll(-rows, dim)
    return tensor


def _between(first: Tensors, last: Tensors, weight: float) -> Tensors:
    return tuple(
        torch.lerp(a, b, weight) if a.is_floating_point() and not _is_index(a) else a
        for a, b in zip(first, last, strict=True)
    )


def _changed(tensors: Tensors, change: Callable[[Tensor], Tensor]) -> Tensors | None:
    """Change all floats that are not indices; return None if there are none."""
    places = [i for i, t in enumerate(tensors) if t.is_floating_point() and t.numel() and not _is_index(t)]
    if not places:
        return None
    return tuple(_kept_columns(t, change(t)) if i in places else t for i, t in enumerate(tensors))


def _is_index(tensor: Tensor) -> bool:
    """Tell whether floats are whole numbers that may be indices."""
    return bool((tensor == tensor.round()).all() and (tensor >= 0).all() and (tensor >= 2).any())


def _kept_columns(before: Tensor, after: Tensor) -> Tensor:
    """Keep the first column if only this one holds whole numbers: the image indices in regions of images."""
    if before.dim() != 2 or before.shape[1] < 5:
        return after.contiguous()
    whole = (before == before.round()).all(0) & (before >= 0).all(0)
    return torch.where(whole, before, after) if whole[0] and not whole.all() else after.contiguous()


def _scaled(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda t: t * factor


def _shifted(deviations: float) -> Callable[[Tensor], Tensor]:
    return lambda t: t + deviations * _scale(t)


def _scale(tensor: Tensor) -> Tensor:
    """Return a typical magnitude; 1 for a tensor of zeros."""
    found = tensor.abs().mean()
    return found if found > 0 else torch.ones_like(found)


def _drawn(factor: float, seed: int) -> Callable[[Tensor], Tensor]:
    """Return a function that draws values with a tensor's mean and ``factor`` times its standard deviation."""

    def draw(tensor: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        deviation = tensor.std() if tensor.numel() > 1 else torch.zeros(())
        return tensor.mean() + factor * (deviation if deviation > 0 else 1.0) * noise

    return draw


def _equal_rows(tensor: Tensor) -> Tensor:
    return tensor[:1].expand_as(tensor) if tensor.dim() else tensor


def _one_zero_row(tensor: Tensor) -> Tensor:
    changed = tensor.clone()
    changed[:1] = 0
    return changed


def _one_large_row(tensor: Tensor) -> Tensor:
    changed = tensor.clone()
    changed[-1:] *= 30
    return changed


def _one_nan(tensor: Tensor) -> Tensor:
    changed = tensor.contiguous().clone()
    changed.view(-1)[:1] = torch.nan
    return changed


_FLOATS: tuple[tuple[str, Callable[[Tensor], Tensor], bool], ...] = (
    ("rolled rows", lambda t: t.roll(1, 0) if t.dim() else t, False),
    ("one zero row", lambda t: _one_zero_row(t) if t.dim() else t, False),
    ("equal rows", _equal_rows, True),
    ("zeros", torch.zeros_like, True),
    ("the mirrored sign", _scaled(-1), False),
    *((f"values × {factor:g}", _scaled(factor), False) for factor in (0.01, 0.1, 0.5, 2, 5, 30)),
    *(
        (f"values {'+' if n > 0 else '-'} {abs(n):g} × their mean magnitude", _shifted(n), False)
        for n in (0.5, -0.5, 2, -2, 8, -8, 40, -40)
    ),
    ("one row × 30", lambda t: _one_large_row(t) if t.dim() else t, False),
    ("values mirrored × 30", _scaled(-30), False),
    ("one value that is NaN", _one_nan, True),
)
"""Changes of floats: a description, the function, and whether the result is uniform."""


def _others(tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield other integers or flags for one input."""
    if not tensor.numel() or tensor.is_complex() or tensor.dtype == torch.uint8:
        return
    if tensor.dtype == torch.bool:
        yield "all true", torch.ones_like(tensor)
        yield "all false", torch.zeros_like(tensor)
        yield "inverted", ~tensor
        return
    if tensor.is_floating_point() and not _is_index(tensor):
        return
    for number in sorted(set(tensor.flatten().tolist()))[:_TOKENS]:
        yield f"all {number:g}", torch.full_like(tensor, number)
    yield "all at the largest", torch.full_like(tensor, float(tensor.max()))
    yield "reversed", tensor.flip(tuple(range(tensor.dim())))
    yield "halved", torch.div(tensor, 2, rounding_mode="floor").clamp(min=min(1, int(tensor.min())))
    yield "one less", (tensor - 1).clamp(min=0)
    yield "one more", tensor + 1
