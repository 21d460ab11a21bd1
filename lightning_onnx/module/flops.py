"""Counts the floating point operations of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lightning_onnx.module.flat import FlatModule


def flops(flat: FlatModule, tensors: Sequence[Tensor]) -> float:
    """Return the floating point operations of a call; 0 for a module that does not run while they are counted.

    Args:
        flat: The module.
        tensors: Inputs that the module takes.
    """
    counter = FlopCounter()
    try:
        with counter:
            flat.reference(tensors)
    except Exception:
        return 0.0
    return counter.total


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts like torch's ``FlopCounterMode``, which adds hooks to the modules of all threads.

    Attributes:
        total: The operations so far.
    """

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
