"""How many rows of an observed batch a check can afford: by counted operations, so that all machines agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lightning_onnx.module.flat import FlatModule

_MOST_FLOPS = 4 * 10**10
"""Floating point operations of a call: about a second on one core."""

_MOST_ELEMENTS = 2**22
"""Limit of the inputs' elements: it bounds what is not counted, such as recurrent layers."""


def affordable_rows(flat: FlatModule, tensors: Sequence[Tensor], rows: int) -> int:
    """Return how many rows the module can run on within about a second; at least one.

    Args:
        flat: The module.
        tensors: Inputs that the module takes.
        rows: Number of rows of these inputs.
    """
    flops = max(1.0, _flops(flat, tensors) / rows)
    elements = max(1.0, sum(t.numel() for t in tensors) / rows)
    return max(1, int(min(_MOST_FLOPS / flops, _MOST_ELEMENTS / elements)))


def _flops(flat: FlatModule, tensors: Sequence[Tensor]) -> float:
    counter = _Counter()
    try:
        with counter:
            flat.reference(tensors)
    except Exception:  # a module that does not run while operators are counted
        return 0.0
    return counter.total


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts like torch's ``FlopCounterMode``, which adds hooks to the modules of all threads."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator, and add its cost."""
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result
