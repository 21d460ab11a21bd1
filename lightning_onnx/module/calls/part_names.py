"""The names that a method's source gives to parts of its arguments, such as ``x, y = batch``.

The syntax tree is read, nothing is run. A part has no name here if it gets several, or if a variable may be something
else by then: no name is guessed.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MethodType

from torch import nn

from lightning_onnx.module.calls.nested import TensorPath

_DEPTH = 4
"""How many calls of the module's own methods are followed, one inside the other."""

_SCOPES = (ast.comprehension, ast.Lambda, ast.NamedExpr)
"""Expressions that have variables of their own, or assign them."""

_CHANGING = frozenset(["append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "sort", "update"])

_Known = dict[str, TensorPath]
"""The path of each variable that is an argument or a part of one."""


def part_names(module: nn.Module, method: str, arguments: Mapping[str, TensorPath]) -> dict[TensorPath, str]:
    """Return the name of each part of some arguments that has exactly one, by its path.

    Names come from assignments, and for parts without one from the parameters of the module's methods that get them.

    Args:
        module: The module.
        method: Name of the method.
        arguments: The path of each argument, by the name of the parameter.
    """
    reader = _Reader(module)
    reader.read(getattr(module, method, None), arguments)
    found = {**reader.passed, **reader.assigned}
    return {path: next(iter(names)) for path, names in found.items() if len(names) == 1}


def unpacks(method: object, parameter: str) -> bool:
    """Tell whether a method's source takes one of its arguments apart: ``x, _ = batch``.

    Args:
        method: The bound method.
        parameter: Name of the parameter.
    """
    tree = _tree(_function(method))
    return tree is not None and any(
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Name)
        and node.value.id == parameter
        and any(isinstance(target, (ast.Tuple, ast.List)) for target in node.targets)
        for node in ast.walk(tree)
    )


class _Reader:
    """Reads methods of one module.

    Attributes:
        assigned: The variables to which parts are assigned, by path.
        passed: The parameters to which parts are passed, by path.

    Args:
        module: The module.
    """

    def __init__(self, module: nn.Module) -> None:
        self.assigned: dict[TensorPath, set[str]] = defaultdict(set)
        self.passed: dict[TensorPath, set[str]] = defaultdict(set)
        self._module = module
        self._inside: list[object] = []

    def read(self, method: object, arguments: Mapping[str, TensorPath]) -> None:
        """Read the source of a bound method; does nothing if there is none.

        Args:
            method: The method.
            arguments: The path of each argument that has one, by the name of the parameter.
        """
        function = _function(method)
        tree = None if function in self._inside or len(self._inside) == _DEPTH else _tree(function)
        if tree is not None:
            self._inside.append(function)
            self._block(tree.body, dict(arguments))
            self._inside.pop()

    def _block(self, statements: Sequence[ast.stmt], known: _Known) -> None:
        for statement in statements:
            blocks = _blocks(statement)
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                known.pop(statement.name, None)
            elif isinstance(statement, ast.With):
                _forget(known, *(item.optional_vars for item in statement.items))
                self._block(statement.body, known)
            elif blocks:  # it may run never, or more than once
                _forget(known, statement)
                for block in blocks:
                    self._block(block, dict(known))
            else:
                self._line(statement, known)

    def _line(self, statement: ast.stmt, known: _Known) -> None:
        own = dict(known)
        _forget(own, *(node for node in ast.walk(statement) if isinstance(node, _SCOPES)))
        for call in ast.walk(statement):
            if isinstance(call, ast.Call):
                self._call(call, own)
        if _changes_items(statement, known):
            known.clear()
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
            _forget(known, statement)
            return
        path = _path_of(statement.value, known)
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        _forget(known, statement)
        for target in targets:
            self._assign(target, path, known, is_new=not isinstance(statement.value, ast.Name))

    def _assign(self, target: ast.expr, path: TensorPath | None, known: _Known, *, is_new: bool = True) -> None:
        if path is None:
            return
        if isinstance(target, ast.Name):
            known[target.id] = path
            if is_new and not target.id.startswith("_"):
                self.assigned[path].add(target.id)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for index, item in enumerate(target.elts):
                if isinstance(item, ast.Starred):
                    return  # the index of what follows depends on the length
                self._assign(item, (*path, str(index)), known)

    def _call(self, call: ast.Call, known: _Known) -> None:
        """Follow a call of one of the module's methods with parts of arguments."""
        method = self._called(call.func)
        arguments: dict[str, TensorPath] = {}
        parameters = _parameters(method)
        for index, value in enumerate(call.args):
            if isinstance(value, ast.Starred):
                path = _path_of(value.value, known)
                if path is not None and index == len(call.args) - 1:
                    rest = enumerate(parameters[index:])
                    arguments |= {parameter: (*path, str(number)) for number, parameter in rest}
                break
            path = _path_of(value, known)
            if path is not None and index < len(parameters):
                arguments[parameters[index]] = path
        for keyword in call.keywords:
            path = _path_of(keyword.value, known)
            if path is not None and keyword.arg in parameters:
                arguments[keyword.arg] = path
        named = set(known.values())
        for parameter, path in arguments.items():
            if path not in named:
                self.passed[path].add(parameter)
        if arguments:
            self.read(method, arguments)

    def _called(self, function: ast.expr) -> object:
        """Return the bound method that ``self(...)``, ``self.name(...)`` or ``super().name(...)`` calls."""
        if isinstance(function, ast.Name):
            return getattr(self._module, "forward", None) if function.id == "self" else None
        if not isinstance(function, ast.Attribute):
            return None
        owner = function.value
        if isinstance(owner, ast.Name) and owner.id == "self":
            return getattr(self._module, function.attr, None)
        if isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "super":
            return self._above(function.attr)
        return None

    def _above(self, name: str) -> object:
        """Return the method of the first class above the one whose method is being read."""
        classes = type(self._module).__mro__
        for place, each in enumerate(classes):
            if any(inspect.unwrap(v) is self._inside[-1] for v in vars(each).values() if inspect.isfunction(v)):
                above = next((c for c in classes[place + 1 :] if name in vars(c)), None)
                return None if above is None else MethodType(vars(above)[name], self._module)
        return None


def _function(method: object) -> object:
    """Return the function of a bound method, without decorators."""
    return inspect.unwrap(method.__func__) if isinstance(method, MethodType) else None


def _tree(function: object) -> ast.FunctionDef | None:
    if not inspect.isfunction(function):
        return None
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, ValueError, SyntaxError):  # code of a console, or a part of a line
        return None
    return tree if isinstance(tree, ast.FunctionDef) and tree.name == function.__name__ else None


def _parameters(method: object) -> list[str]:
    """Return the names of the parameters that can be given by position."""
    if not inspect.isfunction(_function(method)):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(method).parameters.values() if p.kind in kinds]  # type: ignore[arg-type]


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """Return the statements inside a statement, block by block."""
    blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
    inner = [each.body for name in ("handlers", "cases") for each in getattr(statement, name, [])]
    return [block for block in (*blocks, *inner) if block]


def _forget(known: _Known, *nodes: ast.AST | None) -> None:
    """Forget the variables that nodes assign or delete, in patterns, handlers and parameters too."""
    for node in nodes:
        for inner in ast.walk(node) if node is not None else ():
            if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
                known.pop(inner.id, None)
            elif isinstance(inner, ast.arg):
                known.pop(inner.arg, None)
            else:
                known.pop(getattr(inner, "name", None) or "", None)


def _changes_items(statement: ast.stmt, known: _Known) -> bool:
    """Tell whether a statement may change which items a part has."""
    for node in ast.walk(statement):
        changed = node.value if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load) else None
        if isinstance(node, ast.Attribute) and (node.attr in _CHANGING or not isinstance(node.ctx, ast.Load)):
            changed = node.value
        if changed is not None and _path_of(changed, known) is not None:
            return True
    return False


def _path_of(value: ast.expr, known: _Known) -> TensorPath | None:
    """Return the path of a variable, or of one of its items or attributes; None if it is anything else."""
    if isinstance(value, ast.Name):
        return known.get(value.id)
    if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant):
        outer, key = _path_of(value.value, known), value.slice.value
        is_key = isinstance(key, str) or (type(key) is int and key >= 0)
        return (*outer, str(key)) if outer is not None and is_key else None
    if isinstance(value, ast.Attribute):
        outer = _path_of(value.value, known)
        return None if outer is None else (*outer, value.attr)
    return None
