"""Plain attributes that a method reads, such as a threshold: the graph contains them, and is stale if they change."""

from __future__ import annotations

import contextlib
import copy
import dis
import hashlib
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_onnx.module.saved import Place
from lightning_onnx.module.weights.copier import on_cpu
from lightning_onnx.module.weights.trainer_view import views_of

_OF_EVERY_MODULE = frozenset(nn.Module().__dict__) | {"_trainer", "_fabric", "_device", "_dtype"}
_NUMBERS = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, np.generic)
_CONTAINERS = (list, tuple, set, frozenset, deque)
_DEPTH = 6
_MOST = 10_000
"""Containers with more items are not treated as settings."""

_TRAINER, _DATA = "the trainer", "the data module"


def read_in(module: nn.Module, call: Callable[[], object]) -> frozenset[Place]:
    """Return the plain attributes that a call reads from a private copy, its submodules, its Trainer and data module.

    Args:
        module: The private copy.
        call: Runs the private copy.
    """
    found: set[Place] = set()
    with contextlib.ExitStack() as stack:
        for name, owner in _owners(module).items():
            stack.enter_context(_recorded(name, owner, found))
        with contextlib.suppress(Exception):
            call()
    owners = _owners(module)
    return frozenset(p for p in found if p[1] not in _OF_EVERY_MODULE and _value(owners, p) is not _NOTHING)


@contextlib.contextmanager
def _recorded(name: str, owner: Any, found: set[Place]) -> Iterator[None]:
    kind: Any = type(owner)

    def record(this: Any, attribute: str) -> Any:
        found.add((name, attribute))
        return kind.__getattribute__(this, attribute)

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__getattribute__": record}
    try:
        owner.__class__ = types.new_class(kind.__name__, (kind,), exec_body=lambda body: body.update(names))
    except Exception:  # the class cannot be replaced, so reads are not recorded
        yield
        return
    try:
        yield
    finally:
        owner.__class__ = kind


def digests(module: nn.Module, places: Iterable[Place]) -> dict[Place, str]:
    """Return a digest of each plain attribute at these places; different values have different digests."""
    owners = _owners(module)
    return {place: digest(_value(owners, place)) for place in places}


def digest(value: object) -> str:
    """Return a string that is the same for equal plain values.

    Example:
        >>> digest({"threshold": 0.5}) == digest({"threshold": 0.5}), digest(0.5) == digest(0.25)
        (True, False)
    """
    return hashlib.sha256("".join(_parts(value, _DEPTH)).encode()).hexdigest()


def snapshot(module: nn.Module) -> dict[Place, Any]:
    """Return copies of all plain attributes of a module and its submodules."""
    found: dict[Place, Any] = {}
    for name, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            for attribute, value in part.__dict__.items():
                if attribute not in _OF_EVERY_MODULE and _is_plain(value, _DEPTH):
                    found[name, attribute] = _copied(value)
    return found


def put(module: nn.Module, values: Mapping[Place, Any]) -> None:
    """Set a private copy's attributes to those of a snapshot, if they are plain in both."""
    parts = dict(module.named_modules())
    for (name, attribute), value in values.items():
        part = parts.get(name)
        if part is None or not _is_plain(part.__dict__.get(attribute), _DEPTH):
            continue
        if digest(part.__dict__.get(attribute)) != digest(value):
            part.__dict__[attribute] = _copied(value)


def set_later(module: nn.Module, places: Iterable[Place]) -> list[Place]:
    """Return the places that methods of the module's own classes may assign after ``__init__``."""
    parts = dict(module.named_modules())
    kinds = {kind for part in parts.values() for kind in type(part).__mro__ if not _is_of_a_library(kind)}
    names = {name for kind in kinds for name in _set_by(kind)}
    return [place for place in places if place[0] in parts and place[1] in names]


def _is_of_a_library(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in (
        "torch",
        "lightning",
        "pytorch_lightning",
        "builtins",
        "lightning_fabric",
    )


def _set_by(kind: type) -> Iterator[str]:
    for name, function in vars(kind).items():
        if isinstance(function, FunctionType) and name != "__init__":
            yield from (i.argval for i in dis.get_instructions(function) if i.opname == "STORE_ATTR")


_NOTHING = object()


def _owners(module: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: part for name, part in module.named_modules() if not isinstance(part, torch.jit.ScriptModule)
    }
    for view in views_of(module)[:1]:
        found[_TRAINER] = view
        if view.__dict__.get("datamodule") is not None:
            found[_DATA] = view.__dict__["datamodule"]
    return found


def _value(owners: Mapping[str, Any], place: Place) -> object:
    """Return the plain value at a place, from the object or its class; ``_NOTHING`` if there is none."""
    owner, name = owners.get(place[0]), place[1]
    if owner is None:
        return _NOTHING
    if name in owner.__dict__:
        value = owner.__dict__[name]
        return value if _is_plain(value, _DEPTH) or isinstance(value, (FunctionType, BuiltinFunctionType)) else _NOTHING
    own = (vars(kind) for kind in type(owner).__mro__ if not _is_of_a_library(kind))
    value = next((found[name] for found in own if name in found), _NOTHING)
    return value if value is not _NOTHING and _is_plain(value, _DEPTH) else _NOTHING


def _is_plain(value: object, depth: int) -> bool:
    if isinstance(value, (*_NUMBERS, np.ndarray)):
        return True
    if isinstance(value, Tensor):
        return not isinstance(value, nn.Parameter) and not value.is_meta
    if not depth:
        return False
    if isinstance(value, (Mapping, *_CONTAINERS)):
        items = [*value.keys(), *value.values()] if isinstance(value, Mapping) else list(value)
        return len(items) <= _MOST and all(_is_plain(item, depth - 1) for item in items)
    return _is_settings(value) and all(_is_plain(item, depth - 1) for item in vars(value).values())


def _is_settings(value: object) -> bool:
    """Tell whether an object holds settings as attributes, such as a dataclass or a namespace."""
    return hasattr(value, "__dict__") and not callable(value) and not isinstance(value, (nn.Module, type))


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return on_cpu(value, value, copy=True)
    if type(value) in (list, tuple):
        return type(value)(_copied(item) for item in value)
    if type(value) is dict:
        return {name: _copied(item) for name, item in value.items()}
    try:
        return copy.deepcopy(value)
    except Exception:  # keep the current value, as for attributes that are not plain
        return value


def _parts(value: object, depth: int) -> Iterator[str]:
    yield f"{type(value).__qualname__}("
    if isinstance(value, (Tensor, np.ndarray)):
        array = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
        content = array.contiguous().view(torch.uint8) if array.dim() and array.numel() else array
        yield f"{array.dtype}{tuple(array.shape)}{hashlib.sha256(content.numpy().tobytes()).hexdigest()}"
    elif isinstance(value, _NUMBERS):
        yield repr(value)
    elif isinstance(value, FunctionType):
        yield f"{value.__module__}.{value.__qualname__}{hashlib.sha256(value.__code__.co_code).hexdigest()}"
    elif isinstance(value, BuiltinFunctionType):
        yield value.__qualname__
    elif depth and isinstance(value, Mapping):
        for name, item in value.items():
            yield from (*_parts(name, depth - 1), *_parts(item, depth - 1))
    elif depth and isinstance(value, (set, frozenset)):
        yield from sorted("".join(_parts(item, depth - 1)) for item in value)
    elif depth and isinstance(value, _CONTAINERS):
        for item in value:
            yield from _parts(item, depth - 1)
    elif depth and _is_settings(value):
        yield from _parts(dict(vars(value)), depth - 1)
    yield ")"
