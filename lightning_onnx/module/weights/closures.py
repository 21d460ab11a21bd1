"""Functions of a private copy, such as hooks, that close over the module: in the copy they close over the copy."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from lightning_onnx.module.variables import Variable
from lightning_onnx.module.weights.copier import Copier

_DEPTH = 4


class Closures:
    """Gives functions of a module cells of their own in the copy, where they hold something of the module.

    ``deepcopy`` shares functions, so a hook that closes over the module would write into the one that is training.
    What else functions close over, and globals, is shared with the run, and put back after each call (see
    ``CallState``).

    Args:
        module: The module.
        copier: Its memo gets the new functions.
    """

    def __init__(self, module: nn.Module, copier: Copier) -> None:
        self._copier = copier
        self._parts = {id(part) for part in module.modules()}
        self._cells: dict[int, tuple[CellType, CellType]] = {}
        self._made: dict[int, tuple[FunctionType, FunctionType]] = {}
        self._visited: set[int] = set()
        for value in _attached(module):
            self._add(value)

    def _add(self, value: object) -> None:
        """Make the function that takes the place of a value, if it holds something of the module."""
        while isinstance(value, functools.partial):
            value = value.func
        if not isinstance(value, FunctionType) or id(value) in self._visited:
            return
        self._visited.add(id(value))
        for cell in value.__closure__ or ():  # a decorator closes over the function that it decorates
            self._add(Variable("", "", cell).value)
        if any(self._is_own(cell) for cell in value.__closure__ or ()):
            self._make(value)

    def _is_own(self, cell: CellType) -> bool:
        return self._is_of_module(Variable("", "", cell).value, _DEPTH)

    def _is_of_module(self, value: object, depth: int) -> bool:
        """Tell whether a value is a part of the module, or holds one."""
        if id(value) in self._parts or id(value) in self._made:
            return True
        if isinstance(value, MethodType):
            return self._is_of_module(value.__self__, depth)
        if isinstance(value, functools.partial):
            return any(self._is_of_module(v, depth) for v in (value.func, value.args, value.keywords))
        if not depth or isinstance(value, (nn.Module, type, FunctionType)):
            return False
        inner: Iterable[object] = ()
        if isinstance(value, dict):
            inner = value.values()
        elif isinstance(value, (list, tuple, set)):
            inner = value
        elif hasattr(value, "__dict__"):
            inner = vars(value).values()
        return any(self._is_of_module(item, depth - 1) for item in list(inner))

    def _make(self, function: FunctionType) -> None:
        cells = tuple(self._own_cell(c) if self._is_own(c) else c for c in function.__closure__ or ())
        made = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
        made.__kwdefaults__ = function.__kwdefaults__
        made.__qualname__, made.__module__, made.__doc__ = function.__qualname__, function.__module__, function.__doc__
        made.__annotations__ = function.__annotations__
        made.__dict__.update(function.__dict__)
        self._copier.memo[id(function)] = made
        self._made[id(function)] = function, made

    def _own_cell(self, cell: CellType) -> CellType:
        if id(cell) not in self._cells:
            self._cells[id(cell)] = cell, CellType()
        return self._cells[id(cell)][1]

    def fill(self) -> None:
        """Put copies into the new cells, once the module itself is in the memo."""
        for old, new in self._cells.values():
            new.cell_contents = self._copier.copy(old.cell_contents)

    def give_own(self, copied: nn.Module) -> None:
        """Let a filled copy use the new functions."""
        if not self._made:
            return
        for part in copied.modules():
            if not isinstance(part, torch.jit.ScriptModule):
                places: tuple[dict[Any, Any], ...] = (part.__dict__, part._forward_hooks, part._forward_pre_hooks)
                for values in places:
                    values.update({name: self._replaced(value) for name, value in list(values.items())})

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            return self._made[id(value)][1] if id(value) in self._made else value
        if isinstance(value, functools.partial):
            made = self._replaced(value.func)
            return value if made is value.func else functools.partial(made, *value.args, **value.keywords)
        return value


def _attached(module: nn.Module) -> Iterator[object]:
    for part in module.modules():
        if not isinstance(part, torch.jit.ScriptModule):
            yield from (*part._forward_hooks.values(), *part._forward_pre_hooks.values(), *part.__dict__.values())
