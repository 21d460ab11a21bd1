"""What a call of the module gives, as flat tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from torch import Tensor

from lightning_onnx.module.calls.nested import TensorPath


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The tensors of a result.

    Attributes:
        tensors: In the order in which they stand in the result.
        paths: Where each of them stands.
    """

    tensors: tuple[Tensor, ...]
    paths: tuple[TensorPath, ...]


RunModule = Callable[[Sequence[Tensor]], Outputs | None]
"""Runs the module on flat tensors; None where it does not take them."""
