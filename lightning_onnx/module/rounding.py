"""Which of equal values comes first is defined neither in torch nor in ONNX for ``topk``, ``sort`` and suppression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_ORDERED = {_aten.topk.default: 2, _aten.sort.default: 1, _aten.sort.stable: 1}
"""Operators that give values and indices, by the place of their ``dim`` where it is not given by keyword."""


class TiesReversed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes the last of equal values where torch takes the first: a result that is as right as the other.

    A module whose outputs change under it decides by the order of equal scores; detectors do before they are trained.

    Example:
        >>> with TiesReversed():
        ...     torch.topk(torch.tensor([1.0, 0.0, 1.0]), 1).indices
        tensor([2])
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Reverse the input, and the indices back."""
        kwargs = dict(kwargs or {})
        if func in _ORDERED and not kwargs.get("stable"):
            place = _ORDERED[func]
            dim = args[place] if len(args) > place else kwargs.get("dim", -1)
            values, indices = func(args[0].flip(dim) if args[0].dim() else args[0], *args[1:], **kwargs)
            return values, args[0].shape[dim] - 1 - indices if args[0].dim() else indices
        if str(func) == "torchvision.nms.default":
            boxes, scores, threshold = args
            kept: Tensor = func(boxes.flip(0), scores.flip(0), threshold)
            return len(scores) - 1 - kept
        return func(*args, **kwargs)
