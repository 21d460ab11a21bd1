"""Deep copies of tensors, as exporters can translate them."""

from __future__ import annotations

from torch import Tensor


def deep_copy(self: Tensor, memo: dict[int, object]) -> Tensor:
    """Return a clone: while a method is traced, its tensors have no memory that could be copied."""
    copied = memo[id(self)] = self.clone()
    return copied
