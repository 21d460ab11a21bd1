"""Conditions on sizes that torch assumes during a trace, such as ``n % 2 == 0`` for an even traced size.

They come from decisions of the method's code based on sizes, so they show at which other sizes it may behave
differently.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import CodeType

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import ShapeEnv

_COMPARISONS: Mapping[str, type[ast.cmpop]] = {"Eq": ast.Eq, "Ne": ast.NotEq}

_OPERATORS: Mapping[str, type[ast.operator]] = {
    "CleanDiv": ast.FloorDiv,
    "FloorDiv": ast.FloorDiv,
    "Mod": ast.Mod,
    "PythonMod": ast.Mod,
}

FUNCTIONS: Mapping[str, Callable[[int, int], int]] = {"Max": max, "Min": min}
"""The functions that a condition may call."""

_KNOWN = (
    *(ast.Expression, ast.Compare, ast.BinOp, ast.Call, ast.Name, ast.Load, ast.Constant, ast.UnaryOp, ast.USub),
    *(ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq),
)

UNLIMITED = 2**31
"""torch calls larger numbers infinite, or has them from the width of its integers."""

_SMALL = 64
"""All sizes up to this one are examined."""

_LARGEST = 1024

_MOST_POINTS = 8
"""Maximum number of sizes proposed for one dim."""


@dataclasses.dataclass(frozen=True)
class SizeCondition:
    """A condition on the sizes of dynamic dims.

    Attributes:
        expression: The condition in Python, of the names of the dims.
        dims: Names of the dims by the names in the expression, which are identifiers.

    Example:
        >>> even = SizeCondition("length % 2 == 0", (("length", "length"),))
        >>> even.holds({"length": 6}), even.holds({"length": 7})
        (True, False)
    """

    expression: str
    dims: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dims."""
        return tuple(dim for _, dim in self.dims)

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Tell whether sizes fulfill the condition; False if it is undefined."""
        values = {name: sizes[dim] for name, dim in self.dims}
        try:
            return bool(eval(self._code, {"__builtins__": {}, **FUNCTIONS}, values))  # of a few known kinds of nodes
        except ZeroDivisionError:
            return False

    @functools.cached_property
    def tree(self) -> ast.expr:
        """The expression as a tree of a few known kinds of nodes."""
        return ast.parse(self.expression, mode="eval").body

    @functools.cached_property
    def _code(self) -> CodeType:
        return compile(self.expression, "<condition>", "eval")

    @functools.cached_property
    def literals(self) -> tuple[int, ...]:
        """The numbers in the expression."""
        return tuple(n.value for n in ast.walk(self.tree) if isinstance(n, ast.Constant) and isinstance(n.value, int))


class _Python(ast.NodeTransformer):
    """Replaces torch's functions by Python operators, and symbols by names of dims."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id), ast.Load())

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) and len(node.args) == 2 else ""
        if name in _COMPARISONS:
            return ast.Compare(node.args[0], [_COMPARISONS[name]()], [node.args[1]])
        return ast.BinOp(node.args[0], _OPERATORS[name](), node.args[1]) if name in _OPERATORS else node


def parse(expression: str, symbols: Mapping[str, str]) -> SizeCondition | None:
    """Parse a condition; return None if it contains anything but sizes and integers.

    Args:
        expression: As torch writes it.
        symbols: Names of the dims by torch's symbols.

    Example:
        >>> parse("Ne(Mod(s0, 4), 3)", {"s0": "length"}).expression
        'length % 4 != 3'
    """
    names = {symbol: re.sub(r"\W", "_", f"_{dim}" if dim[:1].isdigit() else dim) for symbol, dim in symbols.items()}
    dims = {names[symbol]: dim for symbol, dim in symbols.items()}
    try:
        tree = _Python(names).visit(ast.parse(expression, mode="eval"))
    except SyntaxError:
        return None
    nodes = list(ast.walk(tree))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    if (
        not isinstance(tree.body, ast.Compare)
        or len(dims) < len(set(symbols.values()))
        or not all(map(_is_known, nodes))
    ):
        return None
    if not used & set(dims) or used - set(dims) - set(FUNCTIONS):
        return None
    return SizeCondition(ast.unparse(tree), tuple((name, dims[name]) for name in dims if name in used))


def _is_known(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) is int
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and len(node.args) == 2
    return isinstance(node, _KNOWN) and not (isinstance(node, ast.Compare) and len(node.ops) != 1)


def conditions_of(program: torch.export.ExportedProgram, symbols: Mapping[str, str]) -> tuple[SizeCondition, ...]:
    """Return the conditions on the sizes of its inputs that a captured program assumes.

    Args:
        program: The program.
        symbols: Names of the requested dynamic dims, by torch's symbols.
    """
    expressions: dict[str, None] = {}
    for symbol, limits in program.range_constraints.items():
        lower, upper = str(limits.lower), str(limits.upper)
        if str(symbol) in symbols:
            # torch traces sizes 0 and 1 separately, without saying so
            expressions[f"{symbol} >= {lower}" if lower.isdigit() and int(lower) > 1 else f"{symbol} > 1"] = None
            expressions |= {f"{symbol} <= {upper}": None} if upper.isdigit() and int(upper) < UNLIMITED else {}
    expressions.update(dict.fromkeys(expression for env in _shape_envs(program) for expression in _assumed(env)))
    return _parsed(expressions, symbols)


def assumed_by(env: ShapeEnv, symbols: Mapping[str, str]) -> tuple[SizeCondition, ...]:
    """Return the conditions on sizes that decided in a run with symbols.

    Args:
        env: What torch noted in the run.
        symbols: Names of the requested dynamic dims, by torch's symbols.
    """
    return _parsed(dict.fromkeys(_assumed(env)), symbols)


def _parsed(expressions: Iterable[str], symbols: Mapping[str, str]) -> tuple[SizeCondition, ...]:
    found = (parse(expression, symbols) for expression in expressions)
    return tuple(condition for condition in found if condition is not None)


def _shape_envs(program: torch.export.ExportedProgram) -> list[ShapeEnv]:
    values = [n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"]
    sizes: list[object] = [size for value in values if isinstance(value, Tensor) for size in value.shape]
    envs = [size.node.shape_env for size in sizes if isinstance(size, torch.SymInt)]
    return list({id(env): env for env in envs if env is not None}.values())


def _assumed(env: ShapeEnv) -> Iterator[str]:
    """Yield torch's assumptions, and its assertions for running the program."""
    yield from (str(guard.expr) for guard in env.guards)
    yield from (str(deferred.expr) for found in env.deferred_runtime_asserts.values() for deferred in found)


def turning_points(conditions: Sequence[SizeCondition], sizes: Mapping[str, int], dim: str) -> list[int]:
    """Return sizes of a dim at which a method may behave differently from the traced size, nearest first.

    Only one size is returned for each set of conditions that hold.

    Args:
        conditions: What a program assumes.
        sizes: The traced sizes.
        dim: The dim.
    """
    of_dim = [c for c in conditions if dim in c.names]
    points = {tuple(c.holds(sizes) for c in of_dim): sizes[dim]}
    for n in sorted(_tried(of_dim, sizes), key=lambda n: (abs(n - sizes[dim]), n)):
        points.setdefault(tuple(c.holds({**sizes, dim: n}) for c in of_dim), n)
    return list(points.values())[1 : 1 + _MOST_POINTS]


def _tried(conditions: Sequence[SizeCondition], sizes: Mapping[str, int]) -> set[int]:
    numbers = {*sizes.values(), *(n for condition in conditions for n in condition.literals)}
    near = {n + step for n in numbers for step in (-1, 0, 1)} | {2 * n for n in sizes.values()}
    return {n for n in {*range(1, _SMALL + 1), *near, *_powers()} if 1 <= n <= _LARGEST}


def _powers() -> Iterator[int]:
    for k in range(_LARGEST.bit_length()):
        yield from (2**k - 1, 2**k, 2**k + 1)


def only_at(condition: SizeCondition, sizes: Mapping[str, int]) -> str | None:
    """Return the dim for which a condition excludes only the size in ``sizes``; None if it excludes more."""
    if len(condition.dims) != 1:
        return None
    (dim,) = condition.names
    excluded = [n for n in _tried([condition], sizes) if not condition.holds({dim: n})]
    return dim if excluded == [sizes[dim]] else None
