"""Capture along the branches that the traced values take, for modules that decide by the values of their tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.captures.base import Captured, DynamicShapes, export_program
from lightning_onnx.tracing.captures.kept_decisions import kept_decisions
from lightning_onnx.tracing.patches.patch import Group
from lightning_onnx.tracing.patches.table import patched


class TracedValues:
    """Reads bytecode, and lets the traced values decide where torch cannot know the outcome."""

    follows_values = True

    def capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """See ``Capture.capture``."""
        return capture_with_values(module, tensors, dynamic_shapes, strict=True, symbolic_int=False)


def capture_with_values(
    module: FlatModule,
    tensors: tuple[Tensor, ...],
    dynamic_shapes: DynamicShapes,
    *,
    strict: bool,
    symbolic_int: bool,
) -> Captured:
    """Capture a module; if torch cannot know an outcome, the traced values decide.

    Args:
        module: A private copy with its weights.
        tensors: The inputs to trace with.
        dynamic_shapes: Which of their dims are dynamic.
        strict: Whether to read the module's bytecode instead of running it.
        symbolic_int: Whether ``int(tensor)`` stays a number that the graph computes.
    """
    groups: tuple[Group, ...] = ("traced_values", "symbolic_int") if symbolic_int else ("traced_values",)
    with patched(*groups), kept_decisions() as kept:
        program = export_program(module, tensors, dynamic_shapes, strict=strict)
    _forget_values(program)
    return Captured(program, kept=tuple(dict.fromkeys(kept)))


def _forget_values(program: torch.export.ExportedProgram) -> None:
    """Turn off the real values that torch computed along the way: rules that run later have none."""
    for node in program.graph.nodes:
        for value in torch.utils._pytree.tree_leaves(node.meta.get("val")):
            mode = getattr(value, "fake_mode", None)
            if mode is not None:
                mode.propagate_real_tensors = False
                return
