"""Subclasses for a private copy, named like the user's classes, whose methods write to their own globals."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType, MethodType
from typing import Any

_Replaced = Callable[[Any], Any]


def classes_of(objects: Iterable[object]) -> list[type]:
    """Return the classes of objects and their bases, each once, without those of libraries that have no state."""
    kinds = {kind: None for value in objects for kind in type(value).__mro__}
    return [
        k
        for k in kinds
        if k.__module__.partition(".")[0] not in ("torch", "lightning", "pytorch_lightning", "builtins")
    ]


def methods_of(kind: type) -> Iterator[tuple[str, FunctionType]]:
    """Yield the functions defined in a class itself, including those of its properties."""
    for name, value in vars(kind).items():
        yield from ((name, function) for function in _functions(value))


def _functions(value: object) -> Iterator[FunctionType]:
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, (staticmethod, classmethod)):
        yield from _functions(value.__func__)
    elif isinstance(value, property):
        for function in (value.fget, value.fset, value.fdel):
            yield from _functions(function)


def replaced(value: Any, functions: _Replaced) -> Any:
    """Return a class attribute, hook or bound method with its functions replaced; the value itself if none is.

    Args:
        value: The value.
        functions: Returns the replacement of a function, or the function itself.
    """
    if isinstance(value, FunctionType):
        return functions(value)
    if isinstance(value, MethodType):
        made = functions(value.__func__)
        return value if made is value.__func__ else MethodType(made, value.__self__)
    if isinstance(value, functools.partial):
        made = replaced(value.func, functions)
        return value if made is value.func else functools.partial(made, *value.args, **value.keywords)
    if isinstance(value, (staticmethod, classmethod)):
        made = replaced(value.__func__, functions)
        return value if made is value.__func__ else type(value)(made)
    if isinstance(value, property):
        old = (value.fget, value.fset, value.fdel)
        get, put, delete = (replaced(function, functions) for function in old)
        is_same = all(a is b for a, b in zip(old, (get, put, delete), strict=True))
        return value if is_same else type(value)(get, put, delete, value.__doc__)
    return value


class OwnClasses:
    """Makes a subclass of each class that has replaced methods, itself or in a base.

    The subclass of ``Net(Base)`` has the method resolution order Net', Net, Base', Base: ``super()`` in a replaced
    method, which refers to the user's class, finds the replaced method of the next class.

    Args:
        functions: Returns the replacement of a function, or the function itself.
    """

    def __init__(self, functions: _Replaced) -> None:
        self._functions = functions
        self._made: dict[type, type] = {}

    def of(self, kind: type) -> type:
        """Return the subclass, or the class itself if nothing in it is replaced."""
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        return self._made[kind]

    def _make(self, kind: type) -> type:
        new = {name: replaced(value, self._functions) for name, value in vars(kind).items()}
        body = {name: value for name, value in new.items() if value is not vars(kind)[name]}
        bases = tuple(made for base in kind.__bases__ if (made := self.of(base)) is not base)
        if not (body or bases):
            return kind
        body |= {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
        return types.new_class(kind.__name__, (kind, *bases), exec_body=lambda names: names.update(body))

    def give(self, made: object) -> None:
        """Change the class of an object of the copy, if its class allows that."""
        try:
            own = self.of(type(made))
            if own is not type(made):
                made.__class__ = own
        except Exception:  # such as a class with slots, or one that forbids subclasses: its writes affect the run
            return
