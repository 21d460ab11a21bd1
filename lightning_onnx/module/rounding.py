"""Ties: for ``topk``, ``sort`` and suppression neither torch nor ONNX defines which of equal values comes first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_ORDERED = {_aten.topk.default: 2, _aten.sort.default: 1, _aten.sort.stable: 1}
"""Operators that return values and indices; for each the position of its ``dim`` argument."""


class TiesReversed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes the last of equal values where torch takes the first: both results are right.

    If a module's outputs change, it decides by the order of equal scores, as detectors do before they are trained.

    Example:
        >>> with TiesReversed():
        ...     torch.topk(torch.tensor([1.0, 0.0, 1.0]), 1).indices
        tensor([2])
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Reverse the input, and then the indices."""
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
