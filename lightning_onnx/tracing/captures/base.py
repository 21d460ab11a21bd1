"""What a capture is: a way to turn a module into the program that the torch.export based engine translates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.weights.state import state

DynamicShapes = tuple[tuple[Mapping[int, object], ...]]
"""The dynamic dims of each tensor, in the form of ``torch.export.export``: ``forward`` takes one tuple of tensors."""

Weights = Callable[[FlatModule], Mapping[str, Tensor]]
"""Returns a module's weights by the names that they have in the program."""


@dataclasses.dataclass(frozen=True)
class Captured:
    """What a capture found.

    Attributes:
        program: The captured program; None leaves capturing to torch's exporter.
        kept: ``file:line`` of each decision by values that the program keeps from the traced call.
        weights: Returns the weights of any module of the same structure.
    """

    program: torch.export.ExportedProgram | None
    weights: Weights = state
    kept: tuple[str, ...] = ()


class Capture(Protocol):
    """A way to capture a module."""

    @property
    def follows_values(self) -> bool:
        """Whether the program keeps the branches that the traced values took."""

    def capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """Capture a module.

        Args:
            module: A private copy with its weights.
            tensors: The inputs to trace with.
            dynamic_shapes: Which of their dims are dynamic.

        Raises:
            CaptureNotApplicable: If this capture is meant for other modules than this one.
            Exception: Whatever torch raises if it cannot capture the module.
        """


def dynamic_shapes_of(axes: Sequence[Mapping[int, str]]) -> DynamicShapes:
    """Return the dynamic dims in torch's form; torch finds out for itself which of them are related or constant.

    Args:
        axes: For each tensor the names of its dynamic dims by their index.
    """
    return (tuple(dict.fromkeys(named, torch.export.Dim.AUTO) for named in axes),)


def export_program(
    module: torch.nn.Module, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes, *, strict: bool = False
) -> torch.export.ExportedProgram:
    """Run ``torch.export.export``, which keeps conditions on sizes as assertions in the program if it can.

    Args:
        module: The module.
        tensors: The inputs to trace with.
        dynamic_shapes: Which of their dims are dynamic.
        strict: Whether to read the module's bytecode instead of running it.
    """
    return torch.export.export(
        module,
        tensors,
        dynamic_shapes=dynamic_shapes,
        strict=strict,
        prefer_deferred_runtime_asserts_over_guards=True,
    )
