"""``int(tensor)`` as a number that the graph computes; torch would make it a constant of the traced call.

Python's own ``int`` cannot return a symbol, so functions outside of torch find another one under its name.
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import functools
import gc
import math
import sys
from collections import deque
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

from lightning_onnx.module.bytecode import codes_of
from lightning_onnx.module.tracing_thread import in_tracing_thread
from lightning_onnx.tracing.patches.patch import Patch

_int = builtins.int
_SYMBOLS: tuple[Any, ...] = (torch.SymInt, torch.SymFloat)


class _Kind(type):
    """Makes ``isinstance(value, int)`` true for symbols, and the class equal to ``int``."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, (_int, _SYMBOLS[0]))

    def __subclasscheck__(cls, other: Any) -> bool:
        return issubclass(other, _int)

    def __eq__(cls, other: Any) -> bool:
        return other is cls or other is _int

    def __hash__(cls) -> _int:
        return hash(_int)


class Integer(metaclass=_Kind):
    """Takes the place of ``int``; returns a symbol if the value is one."""

    def __new__(cls, value: Any = 0, *rest: Any, **options: Any) -> Any:
        """Convert as ``int`` does, but keep a symbol."""
        if isinstance(value, Tensor) and not rest:
            return _whole(value.item())
        return _whole(value) if isinstance(value, _SYMBOLS) and not rest else _int(value, *rest, **options)

    from_bytes = _int.from_bytes


def _whole(number: Any) -> Any:
    if isinstance(number, _SYMBOLS):
        return number if isinstance(number, _SYMBOLS[0]) else math.trunc(number)
    return _int(number)


class _Globals(dict[str, Any]):
    """The globals of a function, with another ``int``.

    Args:
        real: The function's own globals, which are read whenever a name is looked up.
    """

    def __init__(self, real: dict[str, Any]) -> None:
        super().__init__(real)  # C reads these, such as ``__builtins__``
        self._real = real

    def __getitem__(self, name: str) -> object:
        """Return what the function finds under a name."""
        return Integer if name == builtins.int.__name__ else self._real[name]


@contextlib.contextmanager
def replaced_in_functions(patch: Patch) -> Iterator[None]:
    """Let functions outside of Python, torch and the exporters find another ``int`` if the tracing thread calls them.

    No module gets another global: the code of each function that uses ``int`` is replaced by one that calls a copy of
    the function. In the tracing thread, this copy has other globals.
    """
    replaced: list[tuple[FunctionType, CodeType, CodeType]] = []
    try:
        for function in list(_functions()):
            original = function.__code__
            code = _calling(_copied(function, _Globals(function.__globals__)), _copied(function), original)
            replaced.append((function, original, code))
            function.__code__ = code
        yield
    finally:
        for function, original, code in replaced:
            if function.__code__ is code:
                function.__code__ = original


def _functions() -> Iterator[FunctionType]:
    """Yield each function that uses ``int``, once."""
    found = [value for value in gc.get_objects() if type(value) is FunctionType]
    for function in {id(each): each for each in (*found, *_frozen())}.values():
        if _is_users(str(function.__globals__.get("__name__") or "")) and _uses_int(function):
            yield function


def _frozen() -> tuple[FunctionType, ...]:
    """Return the functions that the garbage collector has frozen and no longer lists, looked for after each freeze."""
    global _FROZEN
    count = gc.get_freeze_count()
    if count == 0 or count > _FROZEN[0]:  # it falls as objects are freed
        _FROZEN = (count, tuple(_of_modules()) if count else ())
    return _FROZEN[1]


_FROZEN: tuple[_int, tuple[FunctionType, ...]] = (0, ())


def _of_modules() -> Iterator[FunctionType]:
    """Yield the functions of all modules and their classes."""
    modules = [module for module in list(sys.modules.values()) if issubclass(type(module), ModuleType)]
    waiting = deque(value for module in modules for value in list(vars(module).values()))
    seen: set[_int] = set()
    while waiting:
        found = _unwrapped(waiting.popleft())
        if id(found) in seen:
            continue
        seen.add(id(found))
        if type(found) is FunctionType:
            yield found
        elif issubclass(type(found), type) and _is_users(str(vars(found).get("__module__") or "")):
            waiting.extend(vars(found).copy().values())


def _unwrapped(value: object) -> object:
    """Return the function of a method; no code of the value runs, as ``isinstance`` might."""
    kind = type(value)
    if kind is staticmethod or kind is classmethod:
        return value.__func__  # type: ignore[attr-defined]
    return value.fget if kind is property else value  # type: ignore[attr-defined]


def _uses_int(function: FunctionType) -> bool:
    if builtins.int.__name__ in function.__globals__:
        return False
    code = function.__code__
    known = _KNOWN.get(id(code))
    if known is None:
        parts = list(codes_of(code))
        uses = any(builtins.int.__name__ in part.co_names for part in parts)
        # What it assigned to its globals would stay in the copy of them.
        known = _KNOWN[id(code)] = (code, uses and not any(_STORE in part.co_code[::2] for part in parts))
    return known[1]


_KNOWN: dict[_int, tuple[CodeType, bool]] = {}
"""By ``id``, since a code's hash takes as long as looking through it; the code stays, so that its id stays its own."""

_STORE = dis.opmap["STORE_GLOBAL"]


def _copied(function: FunctionType, variables: dict[str, Any] | None = None) -> FunctionType:
    variables = function.__globals__ if variables is None else variables
    copied = FunctionType(function.__code__, variables, function.__name__, function.__defaults__, function.__closure__)
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


def _calling(here: FunctionType, elsewhere: FunctionType, original: CodeType) -> CodeType:
    """Return code that calls one function in the tracing thread and the other one in any other.

    Args:
        here: The function for the tracing thread.
        elsewhere: The function for the other threads.
        original: The code in whose place it is put; both have the same free variables.
    """
    chosen = in_tracing_thread(elsewhere, here)
    constants = tuple(chosen if constant == _CHOSEN else constant for constant in _template.__code__.co_consts)
    return _template.__code__.replace(co_consts=constants, co_name=original.co_name, co_freevars=original.co_freevars)


_CHOSEN = "the function to call"


def _template(*args: object, **kwargs: object) -> object:
    function: Any = "the function to call"
    return function(*args, **kwargs)


_LEFT_ALONE = frozenset(
    {"torch", "onnx", "onnxscript", "onnx_ir", "onnxruntime", "lightning_onnx", "sympy", "mpmath", "numpy", "lightning"}
)


@functools.lru_cache(maxsize=10_000)
def _is_users(module: str) -> bool:
    """Tell whether a module is outside of Python, torch and the exporters."""
    top = module.partition(".")[0]
    return top != "" and top not in _LEFT_ALONE and top not in sys.stdlib_module_names
