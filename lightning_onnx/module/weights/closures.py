"""Hooks and methods of a private copy: they close over the copy, and write to their own copies of globals."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from lightning_onnx.module import variables
from lightning_onnx.module.user_code import is_users
from lightning_onnx.module.weights.copier import Copier
from lightning_onnx.module.weights.own_classes import OwnClasses, classes_of, methods_of, replaced
from lightning_onnx.module.weights.written import CONTAINERS, Key, Written, written_by


class Closures:
    """Gives the functions of a copied module their own cells and globals.

    ``deepcopy`` shares functions, so a copied hook that closes over the module would write into the module in training.
    For the same reason hooks get their own globals, and so do methods that use a global that a method or hook writes:
    one that collects features in a global list would add those of the copy.

    Args:
        module: The module.
        copier: Copies the attributes; the new functions are added to its memo.
    """

    def __init__(self, module: nn.Module, copier: Copier) -> None:
        self._copier = copier
        self._found: list[tuple[CellType, CellType]] = []
        self._cells: dict[int, CellType] = {}
        self._visited: set[int] = set()
        self._globals: dict[int, dict[str, Any]] = {}
        self._own: dict[Key, variables.Variable] = {}
        self._made: dict[int, tuple[FunctionType, FunctionType]] = {}
        self._objects: list[object] = []
        for value in _attached(module):
            while isinstance(value, functools.partial):
                value = value.func
            if isinstance(value, FunctionType):
                self._add(value)
            elif isinstance(value, MethodType):
                self._objects.append(value.__self__)
            elif callable(value) and not isinstance(value, (nn.Module, type)):
                self._objects.append(value)
        self._add_methods(module)

    def _add(self, function: FunctionType) -> None:
        """Make the function that replaces a hook, if the hook closes over something or is the user's code."""
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
        cells = tuple(self._own_cell(cell) for cell in function.__closure__ or ())
        names = self._own_globals(function) if is_own else function.__globals__
        self._make(function, names, cells)
        if is_own:
            self._add_globals(function, names)

    def _make(self, function: FunctionType, names: dict[str, Any], cells: tuple[CellType, ...]) -> None:
        made = FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
        made.__kwdefaults__ = function.__kwdefaults__
        made.__qualname__, made.__module__, made.__doc__ = function.__qualname__, function.__module__, function.__doc__
        made.__annotations__ = function.__annotations__
        made.__dict__.update(function.__dict__)
        self._copier.memo[id(function)] = made
        self._made[id(function)] = function, made

    def _own_cell(self, cell: CellType) -> CellType:
        if id(cell) not in self._cells:
            self._cells[id(cell)] = CellType()
            self._found.append((cell, self._cells[id(cell)]))
        return self._cells[id(cell)]

    def _own_globals(self, function: FunctionType) -> dict[str, Any]:
        """Return the copied globals shared by all functions of a file; they miss what the file assigns later."""
        original = function.__globals__
        return self._globals.setdefault(id(original), dict(original))

    def _add_globals(self, function: FunctionType, names: dict[str, Any]) -> None:
        """Copy the containers that a function names, and the functions of its file that it calls."""
        for name in function.__code__.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, CONTAINERS):
                self._own_name(function, name)
            elif isinstance(value, FunctionType) and value.__globals__ is function.__globals__:
                self._add(value)
                names[name] = self._copier.memo.get(id(value), value)
        for i, name in written_by(function):
            if i == id(function.__globals__):
                self._own_name(function, name)

    def _own_name(self, function: FunctionType, name: str) -> None:
        key = id(function.__globals__), name
        if key not in self._own and name in function.__globals__:
            names = self._own_globals(function)
            names[name] = self._copier.copy(function.__globals__[name])
            self._own[key] = variables.Variable(name, names)

    def _add_methods(self, module: nn.Module) -> None:
        """Make the functions that replace methods which use variables that methods or hooks write."""
        parts = [part for part in module.modules() if not isinstance(part, torch.jit.ScriptModule)]
        methods = [method for kind in classes_of([*parts, *self._objects]) for method in methods_of(kind)]
        written = Written(methods, [*self._own, *((i, "") for i in self._cells)])
        for function in written.seeing.values():
            for name in {name for i, name in written.keys if i == id(function.__globals__)}:
                self._own_name(function, name)
        for function in written.seeing.values():
            if id(function) in self._copier.memo:
                continue
            cells = []
            for cell in function.__closure__ or ():
                own = (id(cell), "") in written.keys or id(cell) in self._cells or _holds(cell, written.seeing)
                cells.append(self._own_cell(cell) if own else cell)
            is_own = id(function.__globals__) in self._globals or is_users(function.__code__.co_filename)
            self._make(function, self._own_globals(function) if is_own else function.__globals__, tuple(cells))
        for names in self._globals.values():
            names.update({n: self._replaced(v) for n, v in names.items() if isinstance(v, FunctionType)})

    def _replaced(self, function: Any) -> Any:
        return self._made[id(function)][1] if id(function) in self._made else function

    def fill(self) -> None:
        """Put copies into the new cells, once the module itself is in the memo."""
        for old, new in self._found:
            try:
                content = old.cell_contents
            except ValueError:  # an empty cell stays empty
                continue
            new.cell_contents = self._copier.copy(content)

    def give_own(self, copied: nn.Module) -> None:
        """Make a filled copy, and the objects among its hooks, use the new functions."""
        if not self._made:
            return
        classes = OwnClasses(self._replaced)
        for part in copied.modules():
            if isinstance(part, torch.jit.ScriptModule):
                continue
            classes.give(part)
            places: tuple[dict[Any, Any], ...] = (part.__dict__, part._forward_hooks, part._forward_pre_hooks)
            for values in places:
                values.update({name: replaced(value, self._replaced) for name, value in list(values.items())})
        for original in self._objects:
            made = self._copier.memo.get(id(original))
            if made is not None and made is not original:
                classes.give(made)
        cells = (variables.Variable(name, cell) for name, cell in self._named_cells())
        variables.give(copied, [*self._own.values(), *cells])

    def _named_cells(self) -> Iterator[tuple[str, CellType]]:
        names = {
            id(cell): name
            for function, _ in self._made.values()
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        }
        for old, new in self._found:
            with contextlib.suppress(ValueError):
                if isinstance(new.cell_contents, (*CONTAINERS, bool, int, float)):
                    yield names[id(old)], new


def _holds(cell: CellType, functions: dict[int, FunctionType]) -> bool:
    try:
        return id(cell.cell_contents) in functions
    except ValueError:
        return False


def _attached(module: nn.Module) -> Iterator[object]:
    for part in module.modules():
        if not isinstance(part, torch.jit.ScriptModule):
            yield from (*part._forward_hooks.values(), *part._forward_pre_hooks.values(), *part.__dict__.values())
