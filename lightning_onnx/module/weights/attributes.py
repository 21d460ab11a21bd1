"""Plain attributes of a module as they are at one moment, and giving them to a private copy later."""

from __future__ import annotations

import copy
import dataclasses
import dis
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_onnx.module.reach import is_project_class
from lightning_onnx.module.saved import Place
from lightning_onnx.module.slots import slots_of
from lightning_onnx.module.weights.copier import on_cpu
from lightning_onnx.module.weights.digests import OF_EVERY_MODULE, Digester, digests

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, np.generic, np.ndarray)
_CONTAINERS = (list, tuple, set, frozenset, deque)
_DEPTH = 6
_MOST = 10_000
"""Containers with more items are not plain."""

_Path = tuple[tuple[str, Any], ...]
"""From an attribute to a value inside it: ``("item", key)`` or ``("attribute", name)``."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What a module was at one moment besides its weights.

    Attributes:
        values: Copies of plain attributes, and of plain values inside others, by where they are.
        digests: Digests of all that the exported methods read.
    """

    values: Mapping[Place, Mapping[_Path, Any]]
    digests: Mapping[Place, str]


def snapshot(module: nn.Module, *methods: str) -> Snapshot:
    """Return what a module is now.

    Args:
        module: The module.
        methods: Names of the exported methods.
    """
    values = {}
    for name, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            for attribute, value in part.__dict__.items():
                if attribute not in OF_EVERY_MODULE:
                    values[name, attribute] = {path: _copied(found) for path, found in _plain(value, (), _DEPTH)}
    read = {place: value for method in methods for place, value in digests(module, method).items()}
    return Snapshot(values, read)


def put(module: nn.Module, kept: Snapshot) -> None:
    """Set a private copy's attributes to those of a snapshot, if they are plain in both."""
    parts = dict(module.named_modules())
    digest = Digester()
    for (name, attribute), values in kept.values.items():
        part = parts.get(name)
        if part is None or attribute not in part.__dict__:
            continue
        now = dict(_plain(part.__dict__[attribute], (), _DEPTH))
        for path, value in values.items():
            if path in now and digest(now[path]) != digest(value):
                _set(part.__dict__, (("item", attribute), *path), _copied(value))


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


def _plain(value: object, path: _Path, depth: int) -> Iterator[tuple[_Path, Any]]:
    """Yield a value if it is plain, else the plain values inside it."""
    if _is_plain(value, _DEPTH):
        yield path, value
    elif not depth:
        return
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _plain(item, (*path, ("item", name)), depth - 1)
    elif type(value) is list and len(value) <= _MOST:
        for i, item in enumerate(value):
            yield from _plain(item, (*path, ("item", i)), depth - 1)
    elif is_project_class(type(value)) and not isinstance(value, nn.Module):
        for name in (*getattr(value, "__dict__", {}), *slots_of(type(value))):
            if hasattr(value, name):
                yield from _plain(getattr(value, name), (*path, ("attribute", name)), depth - 1)


def _set(owner: Any, path: _Path, value: object) -> None:
    *before, (kind, last) = path
    for step, name in before:
        owner = owner[name] if step == "item" else getattr(owner, name)
    if kind == "item":
        owner[last] = value
    else:
        object.__setattr__(owner, last, value)


def _is_plain(value: object, depth: int) -> bool:
    if isinstance(value, _PLAIN):
        return True
    if isinstance(value, Tensor):
        return not isinstance(value, nn.Parameter) and not value.is_meta
    if not depth:
        return False
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
