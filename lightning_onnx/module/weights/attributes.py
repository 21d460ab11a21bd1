"""What a checkpoint lacks of a module as it is at one moment, and giving it to a private copy later.

That is plain attributes, buffers, not all of which are persistent, and modules that are not registered, as in a list.
"""

from __future__ import annotations

import copy
import dataclasses
import dis
import functools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_onnx.module.reach import is_project_class
from lightning_onnx.module.saved import Place
from lightning_onnx.module.slots import slots_of
from lightning_onnx.module.weights.copier import on_cpu
from lightning_onnx.module.weights.digests import OF_EVERY_MODULE, Digester, digests
from lightning_onnx.module.weights.state import named_tensors

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, np.generic, np.ndarray)
_CONTAINERS = (list, tuple, set, frozenset, deque)
_DEPTH = 6
_MOST = 10_000
"""Containers with more items are not plain."""

_OF_THE_TRAINER = ("current_epoch", "global_step")
"""A checkpoint has them."""

_Path = tuple[tuple[str, Any], ...]
"""From an attribute to a value inside it: ``("item", key)``, ``("attribute", name)``, at last ``("tensor", name)``."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a module was at one moment besides its weights.

    Attributes:
        values: Copies of plain attributes, and of plain values inside others, by where they are.
        digests: Digests of all that the exported methods read.
        buffers: Copies of the buffers by name; meta tensors of those that a checkpoint holds.
    """

    values: Mapping[Place, Mapping[_Path, Any]]
    digests: Mapping[Place, str]
    buffers: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)


def snapshot(module: nn.Module, *methods: str) -> Snapshot:
    """Return what a module is now.

    Args:
        module: The module.
        methods: Names of the exported methods.
    """
    values = {}
    read = {place: value for method in methods for place, value in digests(module, method).items()}
    registered = _registered(module)
    for name, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            for attribute, value in part.__dict__.items():
                if attribute not in OF_EVERY_MODULE:
                    found = _Values(registered, with_modules=(name, attribute) in read).of(value, (), _DEPTH)
                    values[name, attribute] = {path: _copied(inner) for path, inner in found}
    return Snapshot(values, read, _copies(dict(_buffers(module))))


def put(module: nn.Module, kept: Snapshot) -> None:
    """Set a private copy's attributes to those of a snapshot, if they are plain in both, and its buffers."""
    parts = dict(module.named_modules())
    digest = Digester()
    inside = _Values(_registered(module), with_modules=True)
    for (name, attribute), values in kept.values.items():
        part = parts.get(name)
        if part is None or attribute not in part.__dict__:
            continue
        now = dict(inside.of(part.__dict__[attribute], (), _DEPTH))
        for path, value in values.items():
            if path in now and digest(now[path]) != digest(value):
                _set(part.__dict__, (("item", attribute), *path), _copied(value))
    current = dict(module.named_buffers(remove_duplicate=False))
    changed = {
        name: buffer
        for name, buffer in kept.buffers.items()
        if name in current
        and (current[name].shape != buffer.shape or (not buffer.is_meta and digest(current[name]) != digest(buffer)))
    }
    for name, buffer in _copies(changed).items():
        owner, _, own_name = name.rpartition(".")
        is_loaded_next = buffer.is_meta and not current[name].is_meta
        setattr(parts[owner], own_name, torch.zeros_like(buffer, device="cpu") if is_loaded_next else buffer)


def changed(before: Snapshot, now: Snapshot) -> list[Place]:
    """Return the places of attributes and buffers that differ between two moments of a module, without its weights.

    Args:
        before: The first moment.
        now: The second.
    """
    digest = Digester()
    found = [
        place
        for place, value in now.digests.items()
        if before.digests.get(place, value) != value and place[0] != "trainer" and place[1] not in _OF_THE_TRAINER
    ]
    for name, buffer in now.buffers.items():
        if not buffer.is_meta and name in before.buffers and digest(buffer) != digest(before.buffers[name]):
            owner, _, own_name = name.rpartition(".")
            found.append((owner, own_name))
    return found


def set_later(module: nn.Module, places: Iterable[Place]) -> list[Place]:
    """Return the places that methods of the module's own classes may assign after ``__init__``."""
    parts = dict(module.named_modules())
    kinds = {kind for part in parts.values() for kind in type(part).__mro__ if is_project_class(kind)}
    names = {name for kind in kinds for name in _set_by(kind)}
    return [place for place in places if place[0] in parts and place[1] in names]


def _set_by(kind: type) -> Iterator[str]:
    for name, function in vars(kind).items():
        if isinstance(function, FunctionType) and name != "__init__":
            yield from (i.argval for i in dis.get_instructions(function) if i.opname == "STORE_ATTR")


def _buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the buffers by name; of those that a checkpoint holds, only the shape, which may change like a queue's."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        for name, buffer in part.named_buffers(recurse=False):
            if not is_lazy(buffer) and not hasattr(buffer, "full_tensor"):
                is_saved = name not in part._non_persistent_buffers_set
                yield f"{prefix}.{name}" if prefix else name, buffer.to("meta") if is_saved else buffer


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors by name; what is one tensor under several names stays one."""
    copies = {key: _copied(tensor) for key, tensor in {id(t): t for t in tensors.values()}.items()}
    return {name: copies[id(tensor)] for name, tensor in tensors.items()}


def _registered(module: nn.Module) -> frozenset[int]:
    """Return the ids of a module's parts and of their tensors."""
    return frozenset(map(id, (*module.modules(), *(tensor for _, tensor in named_tensors(module)))))


@dataclasses.dataclass(frozen=True)
class _Values:
    """Finds what can be kept of an attribute.

    Attributes:
        registered: Ids of the parts and tensors that a checkpoint has.
        with_modules: Whether to look into modules that are not registered.
    """

    registered: frozenset[int]
    with_modules: bool

    def of(self, value: object, path: _Path, depth: int) -> Iterator[tuple[_Path, Any]]:
        """Yield a value if it is plain, else the plain values inside it."""
        if _is_plain(value, _DEPTH):
            yield path, value
        elif not depth:
            return
        elif isinstance(value, nn.Module):
            if self.with_modules and id(value) not in self.registered:
                for name, tensor in named_tensors(value):
                    if id(tensor) not in self.registered:
                        yield (*path, ("tensor", name)), tensor
        elif isinstance(value, dict):
            for name, item in value.items():
                yield from self.of(item, (*path, ("item", name)), depth - 1)
        elif type(value) is list and len(value) <= _MOST:
            for i, item in enumerate(value):
                yield from self.of(item, (*path, ("item", i)), depth - 1)
        elif is_project_class(type(value)):
            for name in (*getattr(value, "__dict__", {}), *slots_of(type(value))):
                if hasattr(value, name):
                    yield from self.of(getattr(value, name), (*path, ("attribute", name)), depth - 1)


def _set(owner: Any, path: _Path, value: Any) -> None:
    *before, (kind, last) = path
    for step, name in before:
        owner = owner[name] if step == "item" else getattr(owner, name)
    if kind == "item":
        owner[last] = value
    elif kind == "tensor":
        dict(named_tensors(owner))[last].data = value.data
    else:
        object.__setattr__(owner, last, value)


def _is_plain(value: object, depth: int) -> bool:
    if isinstance(value, _PLAIN):
        return True
    if isinstance(value, Tensor):
        return not isinstance(value, nn.Parameter) and not value.is_meta
    if not depth:
        return False
    if isinstance(value, functools.partial):
        is_of_module = isinstance(value.func, (MethodType, nn.Module)) or getattr(value.func, "__closure__", None)
        return not is_of_module and _is_plain((value.args, value.keywords), depth - 1)
    if isinstance(value, (Mapping, *_CONTAINERS)):
        items = [*value.keys(), *value.values()] if isinstance(value, Mapping) else list(value)
        return len(items) <= _MOST and all(_is_plain(item, depth - 1) for item in items)
    holds_attributes = hasattr(value, "__dict__") and not callable(value) and not isinstance(value, (nn.Module, type))
    return holds_attributes and all(_is_plain(item, depth - 1) for item in vars(value).values())


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return on_cpu(value, value, copy=True)
    if type(value) in (list, tuple):
        return type(value)(_copied(item) for item in value)
    if type(value) is dict:
        return {name: _copied(item) for name, item in value.items()}
    try:
        return copy.deepcopy(value)
    except Exception:  # it stays what it is now, as an attribute that is not plain does
        return value
