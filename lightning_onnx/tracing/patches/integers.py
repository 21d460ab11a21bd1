"""``int(tensor)`` as a number that the graph computes; torch would make it a constant of the traced call.

Python's own ``int`` cannot return a symbol, so the name is replaced in modules outside of torch.
"""

from __future__ import annotations

import builtins
import contextlib
import math
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

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


@contextlib.contextmanager
def replaced_in_modules(patch: Patch) -> Iterator[None]:
    """Give all modules except those of Python, torch and the exporters a global of the patch's name."""
    replaced = [
        module
        for name, module in list(sys.modules.items())
        if _is_users(name, module) and patch.name not in vars(module)
    ]
    for module in replaced:
        vars(module)[patch.name] = patch.replacement
    try:
        yield
    finally:
        for module in replaced:
            vars(module).pop(patch.name, None)


_LEFT_ALONE = frozenset(
    {"torch", "onnx", "onnxscript", "onnx_ir", "onnxruntime", "lightning_onnx", "sympy", "mpmath", "numpy", "lightning"}
)


def _is_users(name: str, module: Any) -> bool:
    top = name.partition(".")[0]
    return isinstance(module, ModuleType) and top not in _LEFT_ALONE and top not in sys.stdlib_module_names
