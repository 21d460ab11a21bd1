"""TODO."""

from __future__ import annotations

from typing import Any

import torch


def capture(
    module: torch.nn.Module, tensors: tuple[torch.Tensor, ...], dynamic: Any, strict: bool = False
) -> torch.export.ExportedProgram:
    return torch.export.export(
        module,
        tensors,
        dynamic_shapes=dynamic,
        strict=strict,
        prefer_deferred_runtime_asserts_over_guards=True,
    )
