"""Functions of a private copy that close over the module: they close over the copy."""

from __future__ import annotations

from collections.abc import Iterator
from types import CellType, FunctionType

import torch
from torch import nn

from lightning_onnx.module.weights.copier import Copier


class Closures:
    """Gives functions on a module, such as its hooks, cells of their own in the copy.

    ``deepcopy`` shares functions, so a hook that closes over the module would write into the one that is training.

    Args:
        module: The module.
        copier: Its memo gets the new functions.
    """

    def __init__(self, module: nn.Module, copier: Copier) -> None:
        self._copier = copier
        self._found: list[tuple[FunctionType, tuple[CellType, ...]]] = []
        for value in _attached(module):
            if isinstance(value, FunctionType) and value.__closure__ and id(value) not in copier.memo:
                cells = tuple(CellType() for _ in value.__closure__)
                made = FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, cells)
                made.__kwdefaults__ = value.__kwdefaults__
                made.__dict__.update(value.__dict__)
                copier.memo[id(value)] = made
                self._found.append((value, cells))

    def fill(self) -> None:
        """Put copies into the new cells, once the module itself is in the memo."""
        for function, cells in self._found:
            for old, new in zip(function.__closure__ or (), cells, strict=True):
                try:
                    content = old.cell_contents
                except ValueError:  # an empty cell stays empty
                    continue
                new.cell_contents = self._copier.copy(content)


def _attached(module: nn.Module) -> Iterator[object]:
    for part in module.modules():
        if not isinstance(part, torch.jit.ScriptModule):
            yield from (*part._forward_hooks.values(), *part._forward_pre_hooks.values(), *part.__dict__.values())
