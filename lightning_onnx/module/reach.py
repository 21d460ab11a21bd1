"""Finds what the code of a method can reach, from its bytecode, without running it: functions, names, variables."""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn

from lightning_onnx.module import bytecode
from lightning_onnx.module.fused import called_by
from lightning_onnx.module.user_code import is_project
from lightning_onnx.module.variables import Variable

_CONTAINERS = (list, tuple, set, frozenset, deque, Mapping)
_MANY = 1_000
"""The items of larger containers are not searched."""

_DEPTH = 5
"""Maximum depth of the search in the attributes of objects."""

_COPYING = ("__init__", "__new__", "__del__", "__deepcopy__", "__copy__", "__getstate__", "__setstate__", "__reduce__")
_OF_ALL_PARTS = frozenset(["children", "named_children", "modules", "named_modules", "_modules", "get_submodule"])
"""Names of functions through which code may call a submodule without naming it."""


class Reach:
    """What methods of a module can reach, according to the names in their code. A name may have several meanings.

    Only code of the user's project is searched; torch, Lightning and other installed packages keep no state between
    calls.

    Args:
        module: The module, or a private copy.
        methods: Names of methods.

    Attributes:
        module: The module.
        names: All names in the code: of attributes, methods and globals.
        parts: The submodules that the method may call, by name, without TorchScript ones.
    """

    def __init__(self, module: nn.Module, *methods: str) -> None:
        self.module = module
        self._called = {*methods, "forward", *(name for method in methods for name in called_by(module, method))}
        self.names = set(self._called)
        self.parts: dict[str, nn.Module] = {}
        self._functions: dict[int, FunctionType] = {}
        self._classes: dict[type, None] = {}
        self._modules: dict[int, ModuleType] = {}
        self._objects: dict[int, object] = {}
        size = -1
        while size != (size := len(self.names) + len(self._functions) + len(self._objects) + len(self.parts)):
            self._look()

    @property
    def functions(self) -> Iterable[FunctionType]:
        """The functions of the project that the method may call."""
        return self._functions.values()

    @property
    def classes(self) -> Iterable[type]:
        """The classes of the project that the method may use."""
        return self._classes.keys()

    @property
    def is_dynamic(self) -> bool:
        """Whether code may reach an attribute that it does not name."""
        codes = (code for function in self.functions for code in bytecode.codes_of(function.__code__))
        return any(bytecode.computes_names(code) for code in codes)

    def variables(self) -> list[Variable]:
        """Return the variables that the code uses, each once; without functions, classes and modules."""
        found: dict[tuple[int, str], Variable] = {}
        for variable in self._variables():
            if not isinstance(variable.value, (FunctionType, type, ModuleType, staticmethod, classmethod, property)):
                found.setdefault(variable.key, variable)
        return list(found.values())

    def accumulated(self) -> frozenset[str]:
        """Return names of attributes and variables that the code only writes or adds to, such as counters."""
        if self.is_dynamic:
            return frozenset()
        read: set[str] = set()
        for function in self.functions:
            for code in bytecode.codes_of(function.__code__):
                read |= bytecode.read_in(code)
        return frozenset(self.names - read - self._called)

    def _variables(self) -> Iterator[Variable]:
        for function in list(self.functions):
            file = str(function.__globals__.get("__name__", ""))
            for name in _globals_in(function):
                yield Variable(file, name, function.__globals__)
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
                if name != "__class__":
                    yield Variable(function.__qualname__, name, cell)
        for other in self._modules.values():
            yield from (Variable(other.__name__, n, vars(other)) for n in self.names & vars(other).keys())
        for kind in self._classes:
            assigned = {name for name in self.names if not name.startswith("__")}
            yield from (Variable(kind.__qualname__, name, kind) for name in assigned & vars(kind).keys())

    def _look(self) -> None:
        """Go one step further from what has been found so far."""
        is_dynamic = self.is_dynamic
        self._look_at_parts(is_dynamic)
        for kind in list(self._classes):
            for name, value in list(vars(kind).items()):
                is_called = is_dynamic and not _is_of_training(name)
                if name in self.names or is_called or (name.startswith("__") and name not in _COPYING):
                    self._follow(value)
        for part in self.parts.values():
            for name, value in list(part.__dict__.items()):
                if name in self.names or is_dynamic:
                    self._follow(value)
        for variable in list(self._variables()):
            self._follow(variable.value)

    def _look_at_parts(self, is_dynamic: bool) -> None:
        everything = is_dynamic or bool(_OF_ALL_PARTS & self.names)
        waiting: list[tuple[str, nn.Module]] = [("", self.module)]
        seen: set[int] = set()
        while waiting:
            prefix, part = waiting.pop()
            if id(part) in seen or isinstance(part, torch.jit.ScriptModule):
                continue
            seen.add(id(part))
            self.parts.setdefault(prefix, part)
            self._add_class(type(part))
            for hook in (*part._forward_hooks.values(), *part._forward_pre_hooks.values()):
                self._follow(hook)
            is_own = is_project_class(type(part))
            for name, child in part._modules.items():
                if child is not None and (everything or not is_own or name in self.names):
                    waiting.append((f"{prefix}.{name}" if prefix else name, child))
        for hooks in _hooks_of_all_modules():
            for hook in hooks.values():
                self._follow(hook)

    def _follow(self, value: object, depth: int = _DEPTH) -> None:
        if isinstance(value, FunctionType):
            self._add_function(value)
        elif isinstance(value, MethodType):
            self._follow(value.__func__, depth)
            self._follow(value.__self__, depth)
        elif isinstance(value, (staticmethod, classmethod)):
            self._follow(value.__func__, depth)
        elif isinstance(value, property):
            for function in (value.fget, value.fset):
                self._follow(function, depth)
        elif isinstance(value, functools.partial):
            for inner in (value.func, value.args, value.keywords):
                self._follow(inner, depth)
        elif isinstance(value, type):
            self._add_class(value)
        elif isinstance(value, ModuleType):
            if is_project(getattr(value, "__file__", None) or "<string>"):
                self._modules[id(value)] = value
        elif isinstance(value, _CONTAINERS):
            items = list(iter(value.values() if isinstance(value, Mapping) else value))
            if depth and len(items) <= _MANY:
                for item in items:
                    self._follow(item, depth - 1)
        elif depth and id(value) not in self._objects and is_project_class(type(value)):
            self._objects[id(value)] = value
            self._add_class(type(value))
            if not isinstance(value, nn.Module):
                for inner in list(getattr(value, "__dict__", {}).values()):
                    self._follow(inner, depth - 1)

    def _add_class(self, kind: type) -> None:
        self._classes.update((k, None) for k in kind.__mro__ if is_project_class(k))

    def _add_function(self, function: FunctionType) -> None:
        if id(function) in self._functions:
            return
        if not is_project(function.__code__.co_filename):  # a library's decorator closes over the user's function
            for cell in function.__closure__ or ():
                value = Variable("", "", cell).value
                if isinstance(value, FunctionType) and value is not function:
                    self._add_function(value)
            return
        self._functions[id(function)] = function
        for code in bytecode.codes_of(function.__code__):
            self.names.update(code.co_names)
            self.names.update(c for c in code.co_consts if isinstance(c, str) and c.isidentifier())


def _is_of_training(name: str) -> bool:
    """Tell whether a method belongs to the loops of training, which a call of the module does not run."""
    return name.startswith(("__", "on_", "configure_", "training_", "validation_", "test_", "optimizer_")) or (
        name.endswith("dataloader") or name in ("setup", "teardown", "prepare_data")
    )


_LIBRARIES = frozenset(
    ["torch", "lightning", "pytorch_lightning", "lightning_fabric", "lightning_onnx", *sys.stdlib_module_names]
)


def is_opaque(kind: type) -> bool:
    """Tell whether objects of a class hold no settings and no state of a method: loggers, optimizers, locks."""
    is_open = kind is SimpleNamespace or kind.__module__.startswith("torch.distributions")
    return kind.__module__.partition(".")[0] in _LIBRARIES and kind.__module__ != "__main__" and not is_open


def is_project_class(kind: type) -> bool:
    """Tell whether a class belongs to the user's own project."""
    if kind.__module__ == "__main__":
        return True
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return file is not None and is_project(file)


def _hooks_of_all_modules() -> Iterable[Mapping[int, Any]]:
    hooks = torch.nn.modules.module
    return hooks._global_forward_hooks, hooks._global_forward_pre_hooks


def _globals_in(function: FunctionType) -> Iterator[str]:
    """Yield the globals that a function uses, and those that it creates."""
    for code in bytecode.codes_of(function.__code__):
        yield from (name for name in bytecode.named_globals(code) if name in function.__globals__)
        yield from bytecode.stored_globals(code) - function.__globals__.keys()
