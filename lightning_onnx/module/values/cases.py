"""Inputs with other values at the traced sizes: a file that is right on the traced call may be wrong on them.

Values outside the observed range are marked. Indices, lengths, group numbers and ``uint8`` images are never mirrored or
multiplied: not every kernel checks its indices.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.resizing import ascends, kept_whole, resize
from lightning_onnx.module.calls.signature import BATCH
from lightning_onnx.module.cases import Case
from lightning_onnx.module.cost import affordable_cases
from lightning_onnx.module.runner import Runner
from lightning_onnx.module.values.columns import at_ends, has_columns
from lightning_onnx.module.values.drawn import TRIES, drawn_like
from lightning_onnx.module.values.numbers import numbers_of

_LITTLE = 1e-3
"""Relative distance from a number of the module for values just beside it: more than rounding, and still close."""

_FACTOR = 30.0


def value_cases(request: Request, run: Runner) -> tuple[Case, ...]:
    """Return inputs with other values that the module takes, with its outputs; fewer if a call is expensive.

    Args:
        request: The requested graph.
        run: Runs the module.
    """
    everything = other_values(request, numbers_of(run.flat.module, run.flat.method))
    different = {_key(values.tensors): values for values in everything}
    different.pop(_key(request.tensors), None)
    found = []
    for values in _spread(list(different.values()), affordable_cases(run, request.tensors)):
        for tensors in (values.tensors, *((values.otherwise,) if values.otherwise else ())):
            outputs = run(tensors)
            if outputs is not None:
                found.append(Case(values.label, tensors, outputs.tensors, kind="values", beyond=values.beyond))
                break
    return tuple(found)


def _spread(values: Sequence[Values], most: int) -> Sequence[Values]:
    """Return at most so many values, of all kinds."""
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


@dataclasses.dataclass(frozen=True)
class Values:
    """Other inputs at the traced sizes.

    Attributes:
        label: Description of the values.
        tensors: One tensor for each input.
        beyond: Whether values lie outside the observed range.
        otherwise: Inputs to try if the module does not take these.
    """

    label: str
    tensors: tuple[Tensor, ...]
    beyond: bool = False
    otherwise: tuple[Tensor, ...] | None = None


def other_values(request: Request, numbers: Sequence[float]) -> Iterator[Values]:
    """Yield inputs with other values; some may equal the traced ones.

    Args:
        request: The requested graph, with the traced tensors.
        numbers: Numbers that the module holds.
    """
    traced = request.tensors
    yield from _other_rows(request)
    drawn, plainer = (drawn_like(traced, seed, may_repeat=True) for seed in (TRIES, TRIES + 1))  # not the test data
    yield Values("values drawn like the observed ones", drawn, otherwise=plainer)
    floats = [t.is_floating_point() or t.is_complex() for t in traced]
    if any(floats):
        yield Values("all floats zero", _each(traced, floats, torch.zeros_like))
        multiplied = [_may_multiply(request, i) for i in range(len(traced))]
        yield Values("mirrored sign", _where(traced, multiplied, lambda t: -t), beyond=True)
        yield Values(f"{_FACTOR:.0f} times as large", _where(traced, multiplied, lambda t: t * _FACTOR), beyond=True)
        yield from _near(request, numbers, multiplied)
    yield from _ends(request)
    masks = [_is_mask(t) for t in traced]
    if any(masks):
        yield Values("masks all true", _each(traced, masks, torch.ones_like))
        yield Values("masks all false", _each(traced, masks, torch.zeros_like))


def windows(request: Request, observed: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Yield all rows of an observed call at the traced sizes, in batches of the traced size.

    Args:
        request: The requested graph.
        observed: The tensors of a call, of any size.
    """
    size = request.sizes(request.tensors).get(BATCH)
    rows = request.sizes(observed).get(BATCH)
    if size is None or rows is None or BATCH in kept_whole(observed, request.axes):
        return
    for start in range(0, rows, size):
        first = max(0, min(start, rows - size))  # the last window may overlap the previous one
        yield _rows(request, observed, [(first + i) % rows for i in range(size)])


def _other_rows(request: Request) -> Iterator[Values]:
    """Yield observed rows: other ones, rolled, repeated, and with one row of zeros."""
    observed = request.sample.tensors
    size = request.sizes(request.tensors).get(BATCH)
    rows = request.sizes(observed).get(BATCH)
    if size is None or rows is None or BATCH in kept_whole(observed, request.axes):
        return
    for number, sample in enumerate(request.samples):
        *_, last = (None, *windows(request, sample.tensors))  # its rows may form groups, other than those of the first
        if last is not None and request.fits(last):
            yield Values(f"the last rows of call {number + 1}", last)
    yield Values("rolled rows", _rows(request, observed, [(i + 1) % rows for i in range(size)]))
    yield Values("all rows equal", _rows(request, observed, [0] * size))
    if size > 1:
        yield Values(
            "one row of zeros", tuple(_without_row(t, a) for t, a in zip(request.tensors, request.axes, strict=True))
        )


def _rows(request: Request, observed: Sequence[Tensor], index: Sequence[int]) -> tuple[Tensor, ...]:
    """Return some rows of a call at the traced sizes."""
    picked = [
        t.index_select(next(d for d, name in axes.items() if name == BATCH), torch.tensor(index))
        if BATCH in axes.values()
        else t
        for t, axes in zip(observed, request.axes, strict=True)
    ]
    return resize(picked, request.axes, request.sizes(request.tensors))


def _without_row(tensor: Tensor, axes: dict[int, str]) -> Tensor:
    """Return a tensor with zeros in its first row, if it holds floats."""
    dim = next((d for d, name in axes.items() if name == BATCH), None)
    if dim is None or not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    changed = tensor.clone()
    changed.select(dim, 0).zero_()
    return changed


def _may_multiply(request: Request, place: int) -> Tensor:
    """Tell for each index of the last dim whether floats there may take any value, because they are not indices."""
    tensor = request.tensors[place]
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return torch.tensor(False)
    others = max((max(t.shape, default=0) for i, t in enumerate(request.tensors) if i != place), default=0)
    if tensor.is_complex() or not others or not 0 < tensor.dim() < 3 or not tensor.numel():
        return torch.tensor(True)
    columns = tensor.reshape(-1, tensor.shape[-1] if tensor.dim() > 1 else 1)
    is_index = (columns >= 0) & (columns < others) & (columns == columns.round())
    return ~is_index.all(0)


def _near(request: Request, numbers: Sequence[float], multiplied: Sequence[Tensor]) -> Iterator[Values]:
    """Yield inputs that hold the module's own numbers, and numbers just beside them."""
    floats = [(t, m) for t, m in zip(request.tensors, multiplied, strict=True) if t.is_floating_point() and m.any()]
    seen = torch.cat([t.double().flatten() for t, _ in floats]) if floats else torch.empty(0)
    seen = seen[torch.isfinite(seen)]
    if not seen.numel():
        return
    low, high = float(seen.min()), float(seen.max())
    inside = [n for n in numbers if low <= n <= high]
    outside = [n for n in numbers if not low <= n <= high]
    for chosen, beyond in ((inside, False), (outside, True)):
        beside = [n + side * (abs(n) or 1.0) * _LITTLE for n in chosen for side in (-1, 1)]
        name = f"numbers of the module {'beyond' if beyond else 'in'} the observed range"
        for label, values in ((name, chosen), (f"just beside {name}", beside)):
            if values:
                fill = functools.partial(_filled, values=values)
                yield Values(label, _where(request.tensors, multiplied, fill), beyond)


def _filled(tensor: Tensor, values: Sequence[float]) -> Tensor:
    """Return a tensor of the same shape that holds the values in turn."""
    if tensor.is_complex():
        return tensor
    index = torch.arange(tensor.numel()) % len(values)
    return torch.tensor(values, dtype=torch.float64)[index].reshape(tensor.shape).to(tensor.dtype)


def _ends(request: Request) -> Iterator[Values]:
    """Yield integers at the ends of their range, or else of each column's; sorted ones, such as offsets, stay."""
    numbers = [
        not (t.is_floating_point() or t.is_complex() or t.dtype in (torch.bool, torch.uint8) or _is_mask(t))
        and t.numel() > 0
        and not any(ascends(t, d) for d in range(t.dim()))
        for t in request.tensors
    ]
    calls = (request.tensors, *(sample.tensors for sample in request.samples))
    for label, extreme in (("integers at their smallest", min), ("integers at their largest", max)):
        if any(numbers):
            yield Values(
                label,
                tuple(
                    torch.full_like(t, extreme(n for call in calls if call[i].numel() for n in _ends_of(call[i])))
                    if is_number
                    else t
                    for i, (t, is_number) in enumerate(zip(request.tensors, numbers, strict=True))
                ),
                otherwise=tuple(
                    at_ends(t, [call[i] for call in calls], largest=extreme is max)
                    if is_number and has_columns(t)
                    else t
                    for i, (t, is_number) in enumerate(zip(request.tensors, numbers, strict=True))
                ),
            )


def _ends_of(tensor: Tensor) -> tuple[int, int]:
    return int(tensor.min()), int(tensor.max())


def _is_mask(tensor: Tensor) -> bool:
    """Tell whether a tensor holds truth values, as booleans or as zeros and ones."""
    if tensor.dim() == 0 or tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.uint8:
        return False
    return tensor.dtype == torch.bool or bool(((tensor == 0) | (tensor == 1)).all())


def _each(tensors: Sequence[Tensor], chosen: Sequence[bool], change: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
    return tuple(change(t) if is_chosen else t for t, is_chosen in zip(tensors, chosen, strict=True))


def _where(
    tensors: Sequence[Tensor], chosen: Sequence[Tensor], change: Callable[[Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """Return tensors changed at the chosen indices of their last dims."""
    return tuple(torch.where(c, change(t), t) if c.any() else t for t, c in zip(tensors, chosen, strict=True))


def _key(tensors: Sequence[Tensor]) -> tuple[tuple[torch.Size, bytes], ...]:
    return tuple((t.shape, to_numpy(t).tobytes()) for t in tensors)
