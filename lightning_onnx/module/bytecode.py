"""The names that code reads and writes, from its bytecode."""

from __future__ import annotations

import dis
import functools
import itertools
from collections.abc import Iterator
from types import CodeType

_CHANGING = frozenset(["append", "appendleft", "extend", "add", "update", "insert", "clear", "setdefault"])
_LOADS = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")
_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL")
_REBINDS = ("STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF")
_OBJECT = ("LOAD_FAST", "LOAD_DEREF", "LOAD_GLOBAL", "LOAD_ATTR", "PUSH_NULL")
_OF_TARGETS = ("COPY", "DUP_TOP", "SWAP", "ROT_TWO", "LOAD_FAST", "LOAD_FAST_BORROW")
_MAKING = ("BINARY_OP", "BINARY_ADD", "BUILD_STRING")
_ENDS = ("POP_TOP", "STORE_FAST", "STORE_SUBSCR", "DELETE_SUBSCR", "RETURN_VALUE", "RETURN_CONST", *_REBINDS)


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function, and of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_of(constant)


@functools.lru_cache(maxsize=10_000)
def named_globals(code: CodeType) -> frozenset[str]:
    """Return the globals that code names."""
    return frozenset(i.argval for i in dis.get_instructions(code) if i.opname in _GLOBALS)


@functools.lru_cache(maxsize=10_000)
def stored_globals(code: CodeType) -> frozenset[str]:
    """Return the globals that code assigns."""
    return frozenset(i.argval for i in dis.get_instructions(code) if i.opname == "STORE_GLOBAL")


@functools.lru_cache(maxsize=10_000)
def read_in(code: CodeType) -> frozenset[str]:
    """Return the names that code reads, except those that it only adds to."""
    read = {c for c in code.co_consts if isinstance(c, str)}
    for statement in _statements(code):
        loaded = [i.argval for i in statement if i.opname.startswith(_LOADS)]
        written = _written_by(statement)
        read.update(name for name in loaded if name != written or loaded.count(name) > 1)
    return frozenset(read)


@functools.lru_cache(maxsize=1_000)
def assigned_none(code: CodeType) -> frozenset[str]:
    """Return the attributes to which code assigns None, alone or in a row (``self.a = self.b = None``)."""
    found = set()
    is_none = False
    before = ""
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name in ("LOAD_CONST", "RETURN_CONST"):
            is_none = instruction.argval is None
        elif name == "STORE_ATTR" and is_none:
            found.add(instruction.argval)
        elif name not in _OF_TARGETS or name == before == "LOAD_FAST":  # another value, and then its target
            is_none = False
        before = name
    return frozenset(found)


_COMPUTING = frozenset(["getattr", "setattr", "hasattr"])
_READING_ALL = frozenset(["__dict__", "vars", "eval", "locals", "globals"])


@functools.lru_cache(maxsize=10_000)
def computes_names(code: CodeType) -> bool:
    """Tell whether code may reach attributes by names that it computes: ``getattr(self, f"layer{i}")``."""
    if _READING_ALL.intersection(code.co_names):
        return True
    instructions = list(dis.get_instructions(code))
    for i, instruction in enumerate(instructions):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and instruction.argval in _COMPUTING:
            after = instructions[i + 1 :]
            arguments = list(itertools.takewhile(lambda n: "CALL" not in n.opname, after))
            name = next((n for n in arguments if not n.opname.startswith(_OBJECT)), instruction)
            if name.opname != "LOAD_CONST" or any(n.opname.startswith(_MAKING) for n in arguments):
                return True
    return False


def _statements(code: CodeType) -> Iterator[list[dis.Instruction]]:
    statement: list[dis.Instruction] = []
    for instruction in dis.get_instructions(code):
        statement.append(instruction)
        if instruction.opname in _ENDS or "JUMP" in instruction.opname:
            yield statement
            statement = []


def _written_by(statement: list[dis.Instruction]) -> str | None:
    """Return the name that a statement only changes: ``self.n += 1``, ``self.losses.append(x)``, ``seen[k] = x``."""
    last = statement[-1]
    if last.opname in _REBINDS:
        is_sum = any(i.opname.startswith("INPLACE_") or i.argrepr.endswith("=") for i in statement[:-1])
        return str(last.argval) if is_sum else None
    for i, instruction in enumerate(statement):
        if instruction.opname.startswith(_LOADS) and _changes_in_place(statement[i + 1 :]):
            return str(instruction.argval)
    return None


def _changes_in_place(after: list[dis.Instruction]) -> bool:
    """Tell whether instructions only change the container on top of the stack, by a method or by an item of it."""
    if after[0].argval in _CHANGING:
        return after[-1].opname == "POP_TOP"
    depth = 1
    for instruction in after[:-1]:
        argument = instruction.arg if instruction.opcode >= dis.HAVE_ARGUMENT else None
        depth += dis.stack_effect(instruction.opcode, argument, jump=False)
        if depth < 1 or instruction.opname.startswith("BINARY_SUBSCR"):
            return False
    return after[-1].opname in ("STORE_SUBSCR", "DELETE_SUBSCR") and depth == 2
