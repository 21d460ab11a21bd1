"""Finds the outer variables that a function writes, from its bytecode, without running it."""

from __future__ import annotations

import dis
from collections import deque
from collections.abc import Iterable, Iterator
from types import CellType, CodeType, FunctionType
from typing import Any

from lightning_onnx.module.user_code import is_project

Key = tuple[int, str]
"""Identifies a variable: by the ``id`` of the globals dict and the name, or by the ``id`` of the cell."""

CONTAINERS = (list, dict, set, deque)

_CHANGING = frozenset(
    [
        "append",
        "appendleft",
        "extend",
        "extendleft",
        "insert",
        "pop",
        "popleft",
        "popitem",
        "remove",
        "clear",
        "add",
        "discard",
        "update",
        "setdefault",
        "sort",
        "reverse",
        "rotate",
        "subtract",
        "difference_update",
        "intersection_update",
        "symmetric_difference_update",
    ]
)
_CHANGING_ARGUMENTS = frozenset(
    ["heappush", "heappop", "heapify", "heapreplace", "heappushpop", "insort", "insort_left", "insort_right"]
)
_STORES = ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE")
_REBINDS = ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF")
_ENDS = ("POP_TOP", "STORE_FAST", "STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF", "RETURN_VALUE", "RETURN_CONST")


class Written:
    """Finds the variables that functions write, and all functions that use them.

    Args:
        functions: The functions to start from, each with its name in its class.
        known: Variables that other functions write.
    """

    def __init__(self, functions: Iterable[tuple[str, FunctionType]], known: Iterable[Key]) -> None:
        functions = list(functions)
        self._methods: dict[str, list[FunctionType]] = {}
        for name, function in functions:
            self._methods.setdefault(name, []).append(function)
        reached: dict[int, FunctionType] = {}
        waiting = [function for name, function in functions if not _is_of_training(name)]
        while waiting:
            function = waiting.pop()
            if id(function) not in reached:
                reached[id(function)] = function
                waiting += [*_called(function), *self._called_methods(function)]
        self.keys = {*known, *(key for function in reached.values() for key in written_by(function))}
        self.seeing = {i: f for i, f in reached.items() if self.keys.intersection(_seen_by(f))}
        while more := [
            f for i, f in reached.items() if i not in self.seeing and any(id(c) in self.seeing for c in _called(f))
        ]:
            self.seeing.update({id(f): f for f in more})

    def _called_methods(self, function: FunctionType) -> Iterator[FunctionType]:
        for code in _codes(function.__code__):
            for name in code.co_names:
                yield from self._methods.get(name, ())


def _is_of_training(name: str) -> bool:
    """Tell whether a method belongs to the training loops; the copy runs it only if another method calls it."""
    return name.startswith(("__init__", "on_", "configure_", "training_", "validation_", "test_", "optimizer_")) or (
        name.endswith("dataloader") or name in ("setup", "teardown", "prepare_data")
    )


def cells_of(function: FunctionType) -> Iterator[tuple[str, CellType, Any]]:
    """Yield name, cell and content of each variable that a function closes over; without empty cells."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell, cell.cell_contents
        except ValueError:
            continue


def _called(function: FunctionType) -> Iterator[FunctionType]:
    """Yield functions that a function refers to by name, or closes over as a decorator does."""
    for _, _, content in cells_of(function):
        if isinstance(content, FunctionType):
            yield content
    if is_project(function.__code__.co_filename):
        for name in {name for code in _codes(function.__code__) for name in code.co_names}:
            value = function.__globals__.get(name)
            if isinstance(value, FunctionType) and is_project(value.__code__.co_filename):
                yield value


def _seen_by(function: FunctionType) -> Iterator[Key]:
    """Yield the outer variables that a function uses."""
    if is_project(function.__code__.co_filename):
        for code in _codes(function.__code__):
            yield from ((id(function.__globals__), name) for name in code.co_names)
        yield from ((id(cell), "") for _, cell, _ in cells_of(function))


def written_by(function: FunctionType) -> Iterator[Key]:
    """Yield the outer variables that a function assigns, or whose content it changes."""
    if not is_project(function.__code__.co_filename):
        return
    cells = {name: (cell, content) for name, cell, content in cells_of(function)}

    def found(instruction: dis.Instruction) -> tuple[Key, Any]:
        name = instruction.argval
        if "GLOBAL" in instruction.opname:
            return (id(function.__globals__), name), function.__globals__.get(name)
        cell, content = cells.get(name, (None, None))
        return (id(cell), ""), content

    for code in _codes(function.__code__):
        for statement in _statements(code):
            for i, instruction in enumerate(statement):
                if instruction.opname in _REBINDS and ("GLOBAL" in instruction.opname or instruction.argval in cells):
                    yield found(instruction)[0]
                if instruction.opname in ("LOAD_GLOBAL", "LOAD_DEREF"):
                    key, value = found(instruction)
                    if isinstance(value, CONTAINERS) and _changes(function, code, statement, i):
                        yield key


def _changes(function: FunctionType, code: CodeType, statement: list[dis.Instruction], at: int) -> bool:
    """Tell whether a statement may change the container that it loads."""
    after = statement[at + 1 :]
    if _changes_in_place(after):
        return True
    if any(i.argval in _CHANGING_ARGUMENTS for i in statement if isinstance(i.argval, str)):
        return True
    if after and after[0].opname == "STORE_FAST":  # another name for it
        return _changes_something(code)
    named = (function.__globals__.get(i.argval) for i in statement if i.opname == "LOAD_GLOBAL")
    return any(
        isinstance(value, FunctionType) and any(_changes_something(inner) for inner in _codes(value.__code__))
        for value in named
    )


def _changes_in_place(after: list[dis.Instruction]) -> bool:
    """Tell whether instructions change the object on top of the stack, or an object taken out of it."""
    depth, is_swapped = 1, False  # the container is at the bottom
    for instruction in after:
        if instruction.argval in _CHANGING and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and depth == 1:
            return True
        if instruction.opname in _STORES and (depth == 2 or is_swapped or instruction.opname == "STORE_SLICE"):
            return True
        is_swapped |= instruction.opname.startswith(("SWAP", "ROT_"))  # ``container[key] += value``
        argument = instruction.arg if instruction.opcode >= dis.HAVE_ARGUMENT else None
        depth += dis.stack_effect(instruction.opcode, argument, jump=False)
        if depth < 1:  # the container was popped
            return False
    return False


def _changes_something(code: CodeType) -> bool:
    return bool(_CHANGING.intersection(code.co_names)) or any(i.opname in _STORES for i in dis.get_instructions(code))


def _statements(code: CodeType) -> Iterator[list[dis.Instruction]]:
    statement: list[dis.Instruction] = []
    for instruction in dis.get_instructions(code):
        statement.append(instruction)
        if instruction.opname in _ENDS or "JUMP" in instruction.opname:
            yield statement
            statement = []


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function, and of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
