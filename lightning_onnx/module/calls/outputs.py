"""What a call of the module returns, as flat tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from torch import Tensor

from lightning_onnx.module.calls.nested import TensorPath


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The tensors of a result.

    Attributes:
        tensors: In the order in which they come in the result.
        paths: Where each of them is in the result.
    """

    tensors: tuple[Tensor, ...]
    paths: tuple[TensorPath, ...]


RunModule = Callable[[Sequence[Tensor]], Outputs | None]
"""Runs the module on flat tensors; returns None if it does not take them."""
