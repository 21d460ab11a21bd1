"""Inputs to try a model with."""

from __future__ import annotations

import dataclasses

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Case:
    """Inputs to try a model with.

    Attributes:
        label: What they are, for people: sizes and where they come from.
        tensors: One tensor an input, in the graph's order.
        expected: The module's outputs where they are known already; computed where they are not.
    """

    label: str
    tensors: tuple[Tensor, ...]
    expected: tuple[Tensor, ...] | None = None
