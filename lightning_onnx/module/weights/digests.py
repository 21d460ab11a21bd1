"""Digests of what a method reads besides weights, such as a threshold: a graph holds these values, and goes stale."""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import os
from collections import deque
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lightning_onnx.module.arrays import content_of
from lightning_onnx.module.calls.observer import is_recorder
from lightning_onnx.module.reach import Reach, is_opaque, is_project_class
from lightning_onnx.module.saved import GENERATORS, Place
from lightning_onnx.module.slots import slots_of
from lightning_onnx.module.variables import NOTHING, Variable
from lightning_onnx.module.weights.state import named_tensors
from lightning_onnx.module.weights.trainer_view import views_of

OF_EVERY_MODULE = frozenset(nn.Module().__dict__) | {"_trainer", "_fabric", "_device", "_dtype"}
"""Attributes that are not settings of a module."""

_NUMBERS = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, np.generic)
_CONTAINERS = (list, tuple, set, frozenset, deque)
_MOST_OBJECTS = 20_000
_MOST_ITEMS = 10_000
_DEPTH = 20


def digests(module: nn.Module, method: str) -> dict[Place, str]:
    """Return digests of the values that the code of a method may read, by their places; weights are not among them.

    They are attributes of the module, its Trainer and data module, hooks, globals, what functions close over, and
    attributes of classes. What the code only adds to, such as a counter, is left out.

    Args:
        module: The module.
        method: Name of the method.
    """
    reach = Reach(module, method)
    digester = Digester(module)
    return {(owner, name): digester(value) for owner, name, value in _values(reach)}


def _values(reach: Reach) -> Iterator[tuple[str, str, object]]:
    only_written = reach.accumulated()
    for name, part in reach.parts.items():
        yield from ((name, attribute, value) for attribute, value in _attributes(part, reach, only_written))
        hooks = [*part._forward_pre_hooks.values(), *part._forward_hooks.values()]
        if hooks:
            yield name, "hooks", hooks
    for function in reach.functions:
        yield function.__qualname__, "defaults", (function.__defaults__, function.__kwdefaults__)
        for name, value in vars(function).items():
            if name in reach.names and name not in only_written:
                yield function.__qualname__, name, value
    for variable in reach.variables():
        if variable.value is not NOTHING and variable.name not in only_written:
            yield variable.owner, variable.name, variable.value
    if reach.names & {"environ", "getenv"}:
        yield from (("the environment", name, os.environ[name]) for name in reach.names & os.environ.keys())
    for view in views_of(reach.module)[:1]:
        if "trainer" in reach.names:
            yield from (("trainer", *found) for found in _named(view, reach))
        if view.__dict__.get("datamodule") is not None and "datamodule" in reach.names:
            yield from (("datamodule", *found) for found in _named(view.datamodule, reach))


def _attributes(part: nn.Module, reach: Reach, only_written: frozenset[str]) -> Iterator[tuple[str, object]]:
    """Yield the attributes of a part that code may read: of a library's class all of them."""
    takes_all = reach.is_dynamic or not is_project_class(type(part))
    for name, value in part.__dict__.items():
        is_read = takes_all or (name in reach.names and name not in only_written)
        if is_read and name not in OF_EVERY_MODULE | _of_lightning(part) and not is_recorder(value):
            yield name, value
    if "_trainer" in part.__dict__:  # such as ``current_epoch`` and ``hparams``
        for name in reach.names - part.__dict__.keys():
            if name != "device" and isinstance(getattr(type(part), name, None), property):
                with contextlib.suppress(Exception):
                    value = getattr(part, name)
                    if isinstance(value, (*_NUMBERS, Mapping)):
                        yield name, value


def _of_lightning(part: nn.Module) -> frozenset[str]:
    """Return the names of what Lightning itself keeps on its modules, such as the hook that runs now."""
    return _set_by_lightning() if "_trainer" in part.__dict__ else frozenset()


@functools.cache
def _set_by_lightning() -> frozenset[str]:
    return frozenset(LightningModule().__dict__)


def _named(owner: Any, reach: Reach) -> Iterator[tuple[str, object]]:
    for name in sorted(reach.names):
        if (not name.startswith("__") and hasattr(type(owner), name)) or name in owner.__dict__:
            with contextlib.suppress(Exception):
                yield name, getattr(owner, name)


class Digester:
    """Computes digests of values that are equal where the values are, in any copy of a module.

    Args:
        module: The module; its parts and weights are known by their names, not by their values.
    """

    def __init__(self, module: nn.Module | None = None) -> None:
        self._names: dict[int, str] = {}
        if module is not None:
            self._names = {id(part): f"module {name}" for name, part in module.named_modules()}
            self._names |= {id(tensor): f"tensor {name}" for name, tensor in named_tensors(module)}

    def __call__(self, value: object) -> str:
        """Return the digest of a value.

        Example:
            >>> Digester()({"threshold": 0.5}) == Digester()({"threshold": 0.5}), Digester()(0.5) == Digester()(0.25)
            (True, False)
        """
        return hashlib.sha256("".join(self._parts(value, _DEPTH, {})).encode()).hexdigest()

    def _parts(self, value: object, depth: int, seen: dict[int, object]) -> Iterator[str]:
        yield f"{type(value).__qualname__}("
        if id(value) in self._names:
            yield self._names[id(value)]
        elif isinstance(value, (Tensor, np.ndarray)):
            yield _array(value)
        elif isinstance(value, enum.Enum):
            yield f"{value.name} {value.value!r}"
        elif isinstance(value, _NUMBERS):
            yield repr(value)
        elif isinstance(value, (type, ModuleType, BuiltinFunctionType)):
            yield value.__name__
        elif isinstance(value, GENERATORS):
            yield "generator"
        elif id(value) not in seen and depth and len(seen) < _MOST_OBJECTS:
            seen[id(value)] = value
            if isinstance(value, (set, frozenset)):
                yield from sorted("".join(self._parts(item, depth - 1, seen)) for item in value)
            else:
                for item in _inner(value):
                    yield from self._parts(item, depth - 1, seen)
        yield ")"


def _inner(value: object) -> Iterator[object]:
    """Yield what a value consists of."""
    if isinstance(value, FunctionType):
        yield _code(value.__code__)
        yield from (value.__defaults__, value.__kwdefaults__)
        for cell in value.__closure__ or ():
            yield Variable("", "", cell).value
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, Mapping):
        pairs = list(iter(value.items()))
        yield len(pairs)
        for name, item in pairs[:_MOST_ITEMS]:
            yield from (name, item)
    elif isinstance(value, _CONTAINERS):
        items = list(iter(value))  # without its own length, which the user's class may not have
        yield len(items)
        yield from items[:_MOST_ITEMS]
    elif isinstance(value, nn.Module):  # one that is not registered: the module's parts are known by their names
        yield {name: item for name, item in value.__dict__.items() if name not in OF_EVERY_MODULE}
        yield from map(dict, (value.named_parameters(recurse=False), value.named_buffers(recurse=False)))
        yield dict(value.named_children())
    elif not is_opaque(type(value)):
        yield from (dict(getattr(value, "__dict__", {})), *(getattr(value, n, None) for n in slots_of(type(value))))
    elif " at 0x" not in (text := repr(value)) and type(value).__module__ != "logging":  # such as a date, or a path
        yield text


def _code(code: CodeType) -> str:
    constants = "".join(_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts)
    return hashlib.sha256(f"{code.co_code!r}{code.co_names}{constants}".encode()).hexdigest()


def _array(value: Tensor | np.ndarray[Any, Any]) -> str:
    if isinstance(value, Tensor):
        if value.is_meta or type(value) not in (Tensor, nn.Parameter):
            return f"{value.dtype}{tuple(value.shape)}"
        dtype, shape, content = content_of(value)
        return f"{dtype}{tuple(shape)}{content.hex()}"
    held = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
    return f"{value.dtype}{value.shape}{hashlib.sha256(held).hexdigest()}"
