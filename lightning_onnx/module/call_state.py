"""Restores what a call changes on a module or in globals, such as the state of a recurrent layer."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx.module.variables import Variable, own_variables

Place = tuple[str, str]
"""An attribute: the name of the submodule that has it, and its own name."""

_MOST = 20_000
"""Only this many objects among a module's attributes are searched."""

_MANY = 1_000
"""The items of larger containers are not searched."""

_LEFT_ALONE = (nn.Module, type, FunctionType, MethodType, ModuleType, torch.jit.ScriptModule)
_NOT_OURS = ("_trainer", "_fabric")


def attribute_names(places: Iterable[Place]) -> str:
    """Return the dotted names of attributes, joined by commas.

    Example:
        >>> attribute_names([("", "hidden"), ("net.0", "cache")])
        'hidden, net.0.cache'
    """
    return ", ".join(f"{part}.{name}" if part else name for part, name in places)


class CallState:
    """Restores what calls change on a module: attributes, the contents of containers, the values of tensors.

    Parameters are ignored: a method that changes them is a training step.

    Args:
        module: The module.

    Attributes:
        written: Attributes that calls have changed so far.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.written: set[Place] = set()
        self._clones: dict[int, _Clone] = {}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Restore what a call in the block changes, and record it in ``written``."""
        before = list(self._look(tensors=True))
        try:
            yield
        finally:
            self.written |= {saved.place for saved in before if saved.put_back()}

    @contextlib.contextmanager
    def kept_in_trace(self, tensors: bool) -> Iterator[None]:
        """Restore what a trace in the block changes; it is not recorded, because torch itself causes part of it.

        Args:
            tensors: Whether to restore the values of tensors as well; during a trace they have none.
        """
        before = list(self._look(tensors))
        try:
            yield
        finally:
            for saved in before:
                saved.put_back()

    def _look(self, tensors: bool) -> Iterator[_Saved]:
        seen: set[int] = set()
        for name, part in self.module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                continue
            for attribute, value in part.__dict__.items():
                place = (name, attribute)
                if attribute in _NOT_OURS:
                    continue
                yield _Attribute(place, part, value)
                if attribute != "_parameters":
                    yield from self._inside(place, value, seen, tensors)
            yield _NewAttributes((name, ""), part, set(part.__dict__))
        for variable in own_variables(self.module):
            place, value = ("", variable.name), variable.value
            yield _Variable(place, variable, value)
            yield from self._inside(place, value, seen, tensors)

    def _inside(self, place: Place, value: Any, seen: set[int], tensors: bool) -> Iterator[_Saved]:
        if id(value) in seen or len(seen) > _MOST or isinstance(value, _LEFT_ALONE):
            return
        if isinstance(value, Tensor):
            if tensors and not value.is_meta and not isinstance(value, nn.Parameter):
                seen.add(id(value))
                yield _Values(place, self._clone_of(value))
        elif isinstance(value, (dict, list, set, deque)):
            seen.add(id(value))
            yield _Content(place, value, _shallow(value))
            if len(value) <= _MANY:
                for item in list(value.values() if isinstance(value, dict) else value):
                    yield from self._inside(place, item, seen, tensors)
        elif isinstance(value, tuple):
            for item in value[:_MANY]:
                yield from self._inside(place, item, seen, tensors)
        elif hasattr(value, "__dict__") and not callable(value):
            seen.add(id(value))
            yield _Content(place, value.__dict__, dict(value.__dict__))
            for item in list(value.__dict__.values()):
                yield from self._inside(place, item, seen, tensors)

    def _clone_of(self, tensor: Tensor) -> _Clone:
        known = self._clones.get(id(tensor))
        if known is None or known.tensor is not tensor or known.version != tensor._version:
            known = self._clones[id(tensor)] = _Clone(tensor, tensor._version, tensor.detach().clone())
        return known


@dataclasses.dataclass
class _Clone:
    """A tensor, its version (torch counts the writes into it) and its values at that version."""

    tensor: Tensor
    version: int
    values: Tensor


@dataclasses.dataclass(frozen=True)
class _Saved:
    """Something that a call may change.

    Attributes:
        place: The attribute itself, or the one that contains it.
    """

    place: Place

    def put_back(self) -> bool:
        """Undo the change; return whether there was one."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class _Attribute(_Saved):
    part: nn.Module
    value: Any

    def put_back(self) -> bool:
        name = self.place[1]
        if name in self.part.__dict__ and self.part.__dict__[name] is self.value:
            return False
        self.part.__dict__[name] = self.value
        return True


@dataclasses.dataclass(frozen=True)
class _Variable(_Saved):
    variable: Variable
    value: Any

    def put_back(self) -> bool:
        if self.variable.value is self.value:
            return False
        self.variable.set(self.value)
        return True


@dataclasses.dataclass(frozen=True)
class _NewAttributes(_Saved):
    part: nn.Module
    names: set[str]

    def put_back(self) -> bool:
        for name in set(self.part.__dict__) - self.names:
            del self.part.__dict__[name]
        return False  # an attribute that did not exist before cannot be hidden state of a later call


@dataclasses.dataclass(frozen=True)
class _Content(_Saved):
    container: Any
    content: Any

    def put_back(self) -> bool:
        if _is_same(self.container, self.content):
            return False
        self.container.clear()
        (self.container.extend if isinstance(self.container, (list, deque)) else self.container.update)(self.content)
        return True


@dataclasses.dataclass(frozen=True)
class _Values(_Saved):
    clone: _Clone

    def put_back(self) -> bool:
        tensor = self.clone.tensor
        if tensor._version == self.clone.version:
            return False
        with torch.no_grad():
            tensor.copy_(self.clone.values)
        self.clone.version = tensor._version
        return True


def _shallow(container: Any) -> Any:
    """Return a shallow copy of a container's content that runs no code of its class."""
    if isinstance(container, dict):
        return dict(container)
    return set(container) if isinstance(container, set) else list(container)


def _is_same(container: Any, content: Any) -> bool:
    if len(container) != len(content):
        return False
    if isinstance(content, dict):
        return all(name in container and container[name] is value for name, value in content.items())
    if isinstance(content, set):
        return bool(container == content)
    return all(a is b for a, b in zip(container, content, strict=True))
