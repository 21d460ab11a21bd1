"""Functions on a private copy, such as hooks: they close over the copy, and write into globals of their own."""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Iterator
from types import CellType, FunctionType
from typing import Any

import torch
from torch import nn

from lightning_onnx.module.user_code import is_users
from lightning_onnx.module.weights.copier import Copier


class Closures:
    """Gives functions on a module, such as its hooks, cells and globals of their own in the copy.

    ``deepcopy`` shares functions, so a hook that closes over the module would write into the one that is training. For
    the same reason hooks get globals of their own: one that gathers features in a list of its file would add those of
    the copy.

    Args:
        module: The module.
        copier: Its memo gets the new functions.
    """

    def __init__(self, module: nn.Module, copier: Copier) -> None:
        self._copier = copier
        self._found: list[tuple[FunctionType, tuple[CellType, ...]]] = []
        self._visited: set[int] = set()
        self._globals: dict[int, dict[str, Any]] = {}
        for value in _attached(module):
            while isinstance(value, functools.partial):
                value = value.func
            if isinstance(value, FunctionType):
                self._add(value)

    def _add(self, function: FunctionType) -> None:
        """Make the function that takes the place of one, if it closes over something or is the user's."""
        is_own = is_users(function.__code__.co_filename)
        if id(function) in self._visited:
            return
        self._visited.add(id(function))
        for cell in function.__closure__ or ():  # a decorator closes over the function that it decorates
            with contextlib.suppress(ValueError):  # an empty cell
                if isinstance(cell.cell_contents, FunctionType) and cell.cell_contents is not function:
                    self._add(cell.cell_contents)
        if id(function) in self._copier.memo or not (function.__closure__ or is_own):
            return
        cells = tuple(CellType() for _ in function.__closure__ or ())
        names = self._own_globals(function) if is_own else function.__globals__
        made = FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
        made.__kwdefaults__ = function.__kwdefaults__
        made.__dict__.update(function.__dict__)
        self._copier.memo[id(function)] = made
        self._found.append((function, cells))
        if is_own:
            self._add_globals(function, names)

    def _own_globals(self, function: FunctionType) -> dict[str, Any]:
        """Return a dict of its own for all functions of one file; what the file assigns later does not reach it."""
        original = function.__globals__
        return self._globals.setdefault(id(original), dict(original))

    def _add_globals(self, function: FunctionType, names: dict[str, Any]) -> None:
        """Copy the containers that a function names, and the functions of its file that it calls."""
        for name in function.__code__.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, (list, dict, set, deque)):
                names[name] = self._copier.copy(value)
            elif isinstance(value, FunctionType) and value.__globals__ is function.__globals__:
                self._add(value)
                names[name] = self._copier.memo.get(id(value), value)

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
