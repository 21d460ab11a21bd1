"""Restores what a call changes on a module or in globals, such as the state of a recurrent layer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx.module import saved
from lightning_onnx.module.reach import Reach, is_opaque, is_project_class
from lightning_onnx.module.saved import Clone, Generator, Place, Saved, version_of
from lightning_onnx.module.slots import slots_of
from lightning_onnx.module.variables import Variable

_MOST = 20_000
"""Only this many objects among a module's attributes are searched."""

_MANY = 1_000
"""The items of larger containers are not searched."""

_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None)})
"""Most attributes of layers are of these types, which hold nothing that a call can change."""

_DICTS = (dict, OrderedDict)
_LEFT_ALONE = (nn.Module, type, FunctionType, MethodType, ModuleType, torch.jit.ScriptModule)
_NOT_OURS = ("_trainer", "_fabric")


def attribute_names(places: Iterable[Place]) -> str:
    """Return the dotted names of attributes, joined by commas.

    Example:
        >>> attribute_names([("", "hidden"), ("net.0", "cache")])
        'hidden, net.0.cache'
    """
    return ", ".join(f"{part}.{name}" if part else name for part, name in places)


@dataclasses.dataclass(frozen=True)
class _Outside:
    variables: Sequence[Variable] = ()
    functions: Sequence[FunctionType] = ()
    classes: Sequence[type] = ()

    @classmethod
    def of(cls, reach: Reach) -> _Outside:
        return cls(reach.variables(), tuple(reach.functions), tuple(reach.classes))


class CallState:
    """Restores what calls change on a module: attributes, the contents of containers, the values of tensors.

    Parameters are ignored: a method that changes them is a training step. Variables outside of the module, which the
    training uses too, are restored if the code of the method names them (see ``Reach``).

    Args:
        module: The module.
        methods: Names of the methods that are called.
        is_concurrent: Whether training continues meanwhile; then variables outside of the module are left alone.

    Attributes:
        written: Attributes and variables that calls have changed so far, without random generators.
        written_outside: Those outside of the module.
    """

    def __init__(self, module: nn.Module, *methods: str, is_concurrent: bool = False) -> None:
        self.module = module
        self.written: set[Place] = set()
        self.written_outside: set[Place] = set()
        self._drawn: dict[int, Generator] = {}
        self._methods = methods
        self._is_concurrent = is_concurrent
        self._clones: dict[int, Clone] = {}
        self._is_kept = False

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Restore what a call in the block changes, and record it in ``written``."""
        before = list(self._look(tensors=True))
        was_kept, self._is_kept = self._is_kept, True
        try:
            yield
        finally:
            self._is_kept = was_kept
            changed = [found for found in before if found.put_back()]
            self.written |= {found.place for found in changed if _drawn_from(found) is None}
            self.written_outside |= {found.place for found in changed if found.is_outside}
            self._drawn |= {id(g): g for found in changed if (g := _drawn_from(found)) is not None}

    @functools.cached_property
    def _outside(self) -> _Outside:
        """Searched for at the first call: an export that only writes new weights makes none."""
        return _Outside() if self._is_concurrent else _Outside.of(Reach(self.module, *self._methods))

    @property
    def drawn(self) -> tuple[Generator, ...]:
        """The random generators of the module's own that calls have drawn from so far."""
        return tuple(self._drawn.values())

    @contextlib.contextmanager
    def kept_in_trace(self, tensors: bool) -> Iterator[None]:
        """Restore what a trace in the block changes; it is not recorded, because torch itself causes part of it.

        Within a block of ``kept`` nothing is done: that restores more.

        Args:
            tensors: Whether to restore the values of tensors as well; during a trace they have none.
        """
        before = [] if self._is_kept else list(self._look(tensors))
        try:
            yield
        finally:
            for found in before:
                found.put_back()

    def _look(self, tensors: bool) -> Iterator[Saved]:
        seen: set[int] = set()
        for name, part in self.module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                continue
            for attribute, value in part.__dict__.items():
                place = (name, attribute)
                if attribute in _NOT_OURS:
                    continue
                yield saved.SavedAttribute(place, part, value)
                if attribute != "_parameters" and type(value) not in _PLAIN:
                    yield from self._inside(place, value, seen, tensors)
            yield saved.SavedNewAttributes((name, ""), part, set(part.__dict__))
        for found in self._look_outside(seen, tensors):
            yield dataclasses.replace(found, is_outside=True)

    def _look_outside(self, seen: set[int], tensors: bool) -> Iterator[Saved]:
        for function in self._outside.functions:
            place = ("", function.__qualname__)
            yield saved.SavedContent(place, function.__dict__, dict(function.__dict__))
            for value in (function.__dict__, function.__defaults__, function.__kwdefaults__):
                yield from self._inside(place, value, seen, tensors)
        for variable in self._outside.variables:
            place = (variable.owner if isinstance(variable.home, type) else "", variable.name)
            value = variable.value
            yield saved.SavedVariable(place, variable, value)
            if isinstance(value, Iterator):
                saved.lend_copy(variable)
            yield from self._inside(place, value, seen, tensors)
        for kind in self._outside.classes:
            yield saved.SavedNewAttributes((kind.__qualname__, ""), kind, set(vars(kind)))

    def _inside(self, place: Place, value: Any, seen: set[int], tensors: bool) -> Iterator[Saved]:
        if type(value) in _DICTS and not value and id(value) not in seen:  # a layer has a dozen, most of them for hooks
            seen.add(id(value))
            yield saved.SavedContent(place, value, saved.shallow(value))
            return
        # Not recursive: a chain of objects may be longer than Python's stack.
        pending = [value]
        while pending:
            value = pending.pop()
            if type(value) in _PLAIN or id(value) in seen or len(seen) > _MOST or isinstance(value, _LEFT_ALONE):
                continue
            found = list(self._of_one(place, value, tensors))
            if found:
                seen.add(id(value))
            yield from found
            if found or isinstance(value, tuple):
                pending += reversed(_held_by(value))

    def _of_one(self, place: Place, value: Any, tensors: bool) -> Iterator[Saved]:
        """Yield what is saved of an object, without what it holds."""
        if isinstance(value, Tensor):
            if tensors and type(value) is Tensor and not value.is_meta:
                yield saved.SavedValues(place, self._clone_of(value))
        elif isinstance(value, saved.GENERATORS):
            yield saved.SavedGenerator(place, value, saved.generator_state(value))
        elif isinstance(value, (dict, list, set, deque)):
            yield saved.SavedContent(place, value, saved.shallow(value))
        elif not isinstance(value, tuple) and (
            is_project_class(type(value)) or not (is_opaque(type(value)) or callable(value))
        ):
            if hasattr(value, "__dict__"):
                yield saved.SavedContent(place, value.__dict__, dict(value.__dict__))
            for name in slots_of(type(value)):
                if hasattr(value, name):
                    yield saved.SavedSlot(place, value, name, getattr(value, name))

    def _clone_of(self, tensor: Tensor) -> Clone:
        known = self._clones.get(id(tensor))
        if known is None or known.tensor is not tensor or known.version != version_of(tensor):
            known = self._clones[id(tensor)] = Clone(tensor, version_of(tensor), tensor.detach().clone())
        return known


def _held_by(value: Any) -> list[Any]:
    """Return what an object holds, in which calls may leave state as well."""
    if isinstance(value, (Tensor, *saved.GENERATORS)):
        return []
    if isinstance(value, (dict, list, set, deque)):
        return [] if len(value) > _MANY else list(value.values() if isinstance(value, dict) else value)
    if isinstance(value, tuple):
        return list(value[:_MANY])
    slots = [getattr(value, name) for name in slots_of(type(value)) if hasattr(value, name)]
    return [*getattr(value, "__dict__", {}).values(), *slots]


def _drawn_from(found: Saved) -> Generator | None:
    """Return the random generator that has changed; None if something else has."""
    if isinstance(found, saved.SavedGenerator) and isinstance(found.generator, saved.RANDOM):
        return found.generator
    return None
