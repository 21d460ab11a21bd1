"""The margin of a condition: how far it is from flipping, as a number with a gradient.

The margin of ``a > b`` is ``a - b``; that of ``all`` is the smallest margin of its elements, that of ``any`` is the
largest, and the number of true elements is smoothed. Conditions without a margin are left out, such as ``torch.equal``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_onnx.module.decisions.record import READS, Site
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.user_code import deciding_frame, line_of

_COMPARED: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    **dict.fromkeys(("gt", "__gt__", "ge", "__ge__", "greater", "greater_equal"), lambda a, b: a - b),
    **dict.fromkeys(("lt", "__lt__", "le", "__le__", "less", "less_equal"), lambda a, b: b - a),
    **dict.fromkeys(("eq", "__eq__"), lambda a, b: -(a - b).abs()),
    **dict.fromkeys(("ne", "__ne__"), lambda a, b: (a - b).abs()),
    **dict.fromkeys(("logical_and", "__and__", "bitwise_and"), torch.minimum),
    **dict.fromkeys(("logical_or", "__or__", "bitwise_or"), torch.maximum),
}
_NEGATED = frozenset({"logical_not", "__invert__", "bitwise_not"})
_CONVERTED = frozenset({"float", "double", "to", "type", "int", "long"})
_SUMMED = frozenset({"sum", "mean", "count_nonzero"})
_RESHAPED = frozenset(
    {"reshape", "view", "squeeze", "unsqueeze", "flatten", "__getitem__", "clone", "contiguous", "detach", "expand"}
)


def gradients(flat: FlatModule, tensors: Sequence[Tensor], site: Site) -> tuple[float, list[Tensor | None]] | None:
    """Return the margin of a condition and its gradient; None if it has none.

    Args:
        flat: The module.
        tensors: Its inputs.
        site: Where a value is read; if it is read several times, the smallest margin counts.

    Returns:
        The margin, and its gradient for each input; None for inputs that the margin does not depend on.
    """
    recorder = _Margins(site)
    leaves = [t.detach().clone().requires_grad_(t.is_floating_point()) for t in tensors]
    try:
        with torch.enable_grad(), flat.random_state_kept(), flat.loops.of_call(tensors), recorder:
            flat(*(t.clone() for t in leaves))
    except Exception:  # a module may not support gradients, or a loop does not end
        if not recorder.found:
            return None
    found = [m for m in recorder.found if m.requires_grad and bool(torch.isfinite(m))]
    if not found:
        return None
    margin = min(found, key=lambda m: abs(float(m.detach())))
    floats = [t for t in leaves if t.requires_grad]
    try:
        grads = iter(torch.autograd.grad(margin, floats, allow_unused=True))
    except RuntimeError:  # a value that the module changed in place
        return None
    return float(margin.detach()), [next(grads) if t.requires_grad else None for t in leaves]


class _Margins(TorchFunctionMode):
    """Propagates margins of conditions, and smoothed counts, through torch functions.

    Attributes:
        found: The margins of the values that were read at the site.
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site
        self.found: list[Tensor] = []
        # By the id of a tensor; the tensor itself is kept, because Python reuses the ids of dead objects.
        self._stand_ins: dict[int, tuple[Tensor, Tensor]] = {}
        self._scores: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, and compute the margin of its result."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in READS:  # a tensor with a gradient has no numpy(), and warns when it becomes a number
            result = func(*(a.detach() if isinstance(a, Tensor) else a for a in args), **kwargs)
        else:
            result = func(*args, **kwargs)
        if not args or not isinstance(args[0], Tensor):
            return result
        if name in READS:
            self._read(args[0], sys._getframe(1))
        elif name in ("argmax", "max"):
            chosen = result if isinstance(result, Tensor) else result.indices
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            if isinstance(dim, int) and args[0].is_floating_point():
                self._scores[id(chosen)] = (chosen, args[0].movedim(dim, -1))
        elif isinstance(result, Tensor):
            stand_in = self._followed(func, name, args, kwargs)
            if stand_in is not None:
                self._stand_ins[id(result)] = (result, stand_in)
        return result

    def _read(self, value: Tensor, frame: FrameType) -> None:
        user = deciding_frame(frame)
        if user is not None and line_of(user) == self.site.where:
            margin = self._number(value)
            if margin is not None and margin.numel() == 1:
                self.found.append(margin.reshape(()))

    def _number(self, value: object) -> Tensor | None:
        """Return the margin or smoothed count of a value; the value itself if it is a number."""
        if not isinstance(value, Tensor):
            return torch.tensor(float(value)) if isinstance(value, (int, float)) else None
        if id(value) in self._stand_ins:
            return self._stand_ins[id(value)][1]
        if value.dtype == torch.bool:  # constant: it does not depend on the inputs
            return torch.where(value, torch.inf, -torch.inf)
        return None if value.is_complex() else value if value.is_floating_point() else value.float()

    def _followed(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Tensor | None:
        """Return the margin or smoothed count of a result; None if it has none."""
        if name in _COMPARED and len(args) > 1:
            return self._compared(name, args[0], args[1])
        value, stand_in = self._stand_ins.get(id(args[0]), (None, None))
        if value is None or stand_in is None:
            return None
        if name in _NEGATED:
            return -stand_in
        if name in ("any", "all"):
            return (
                _nearly_largest(stand_in, args, kwargs) if name == "any" else -_nearly_largest(-stand_in, args, kwargs)
            )
        if name in _CONVERTED | _SUMMED and value.dtype == torch.bool:
            stand_in = torch.sigmoid(stand_in / stand_in.detach().abs().mean().clamp(min=1e-6))
        if name in _CONVERTED:
            return stand_in
        if name == "count_nonzero":
            return stand_in.sum(*args[1:], **kwargs)
        found = func(stand_in, *args[1:], **kwargs) if name in _RESHAPED | _SUMMED else None
        return found if isinstance(found, Tensor) else None

    def _compared(self, name: str, left: Tensor, right: object) -> Tensor | None:
        if id(left) in self._scores and name in ("eq", "__eq__"):
            return _lead(self._scores[id(left)][1], right)
        a, b = self._number(left), self._number(right)
        return None if a is None or b is None else _COMPARED[name](a, b)


def _nearly_largest(margins: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return a smooth maximum, so that every entry that has to change has a gradient."""
    finite = margins.detach()[margins.detach().isfinite()].abs()
    width = finite.mean().clamp(min=1e-6) / 4 if finite.numel() else torch.tensor(1.0)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else tuple(range(margins.dim())))
    keepdim = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
    return torch.logsumexp(margins / width, dim, keepdim=keepdim) * width


def _lead(scores: Tensor, chosen: object) -> Tensor | None:
    """Return the lead of a score over the best other one: positive if ``argmax`` chooses it."""
    if not isinstance(chosen, int) or not 0 <= chosen < scores.shape[-1] or scores.shape[-1] < 2:
        return None
    others = torch.cat((scores[..., :chosen], scores[..., chosen + 1 :]), -1)
    return scores[..., chosen] - others.amax(-1)
