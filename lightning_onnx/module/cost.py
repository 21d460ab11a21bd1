"""How much a check can afford, by the operations of a call: the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_onnx.module.runner import Runner

_MOST_FLOPS = 4 * 10**10
"""Floating point operations of a call: about a second on one core."""

_MOST_ELEMENTS = 2**22
"""Limit of the inputs' elements: it bounds what is not counted, such as recurrent layers."""

_FLOPS_OF_ALL = 10**11
_FEWEST_CASES = 4


def affordable_rows(run: Runner, tensors: Sequence[Tensor], rows: int) -> int:
    """Return how many rows the module can run on within about a second; at least one.

    Args:
        run: Runs the module.
        tensors: Inputs that the module takes.
        rows: Number of rows of these inputs.
    """
    flops = max(1.0, run.flops(tensors) / rows)
    elements = max(1.0, sum(t.numel() for t in tensors) / rows)
    return max(1, int(min(_MOST_FLOPS / flops, _MOST_ELEMENTS / elements)))


def affordable_cases(run: Runner, tensors: Sequence[Tensor]) -> int:
    """Return on how many inputs like these the module can run within a few seconds; at least four.

    Args:
        run: Runs the module.
        tensors: Inputs that the module takes.
    """
    return max(_FEWEST_CASES, int(_FLOPS_OF_ALL / max(1.0, run.flops(tensors))))
