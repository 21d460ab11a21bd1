"""The dims of a captured program: which are dynamic, which came out constant, and how they depend on each other."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import torch
from torch import fx

from lightning_onnx.module.calls.request import Request
from lightning_onnx.tracing.base import AssumedRange, ConstantDim
from lightning_onnx.tracing.conditions import UNLIMITED, SizeCondition, conditions_of

_SYMBOL = re.compile(r"\b[A-Za-z_]\w*\b")


@dataclasses.dataclass(frozen=True)
class ProgramDims:
    """What a program says about the dims that were asked to be dynamic.

    Attributes:
        symbols: Names of the dims by torch's symbols.
        constant: Dims that are constant.
        ranges: Dims of which the program assumes that they have certain sizes only.
        relations: How dims depend on each other, as readable sentences.
        unused_inputs: Indices of the inputs that nothing reads.
        conditions: What the program assumes about sizes.
    """

    symbols: Mapping[str, str]
    constant: tuple[ConstantDim, ...]
    ranges: tuple[AssumedRange, ...]
    relations: tuple[str, ...]
    unused_inputs: tuple[int, ...]
    conditions: tuple[SizeCondition, ...]


def dims_of(program: torch.export.ExportedProgram, request: Request) -> ProgramDims:
    """Read what a program says about the dims of its inputs.

    Args:
        program: The captured program.
        request: Names of the dims that were asked to be dynamic.
    """
    user_inputs = set(program.graph_signature.user_inputs)
    placeholders: list[fx.Node] = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in user_inputs]
    ranges = {str(symbol): r for symbol, r in program.range_constraints.items()}
    symbols: dict[str, str] = {}
    constant: dict[str, ConstantDim] = {}
    assumed: dict[str, AssumedRange] = {}
    relations: list[str] = []
    expressions: list[tuple[str, str]] = []
    for node, axes in zip(placeholders, request.axes, strict=True):
        for d, name in axes.items():
            size: int | torch.SymInt = node.meta["val"].shape[d]
            limits = ranges.get(str(size))
            if isinstance(size, int):
                constant[name] = ConstantDim(name, size)
            elif limits is not None and limits.lower == limits.upper:
                constant[name] = ConstantDim(name, int(limits.lower))
            elif str(size).isidentifier():
                assumed[name] = _assumed(name, *(() if limits is None else (str(limits.lower), str(limits.upper))))
                if symbols.setdefault(str(size), name) != name:
                    relations.append(f"{name} equals {symbols[str(size)]}")
            else:
                expressions.append((name, str(size)))
    for name, expression in expressions:
        relations.append(f"{name} = {rename_symbols(expression, symbols)}")
    unused = tuple(i for i, node in enumerate(placeholders) if not node.users)
    ranges_ = tuple(a for a in assumed.values() if (a.min, a.max) != (None, None))
    return ProgramDims(
        symbols,
        tuple(constant.values()),
        ranges_,
        tuple(dict.fromkeys(relations)),
        unused,
        conditions_of(program, symbols),
    )


_USUAL_MIN = 2
"""torch compiles sizes of 0 and 1 apart, and calls this the smallest of all other sizes."""


def _assumed(name: str, lower: str = "", upper: str = "") -> AssumedRange:
    """Read a range of torch's, whose limits are numbers, or other expressions for infinity."""
    return AssumedRange(
        name,
        int(lower) if lower.isdigit() and int(lower) > _USUAL_MIN else None,
        int(upper) if upper.isdigit() and int(upper) < UNLIMITED else None,
    )


def symbols_in(expression: str) -> list[str]:
    """Return the symbols in a dim's expression.

    Example:
        >>> symbols_in("2*s0 + s1")
        ['s0', 's1']
    """
    return _SYMBOL.findall(expression)


def rename_symbols(expression: str, names: Mapping[str, str]) -> str:
    """Replace symbols in a dim's expression by names; others stay as they are.

    Example:
        >>> rename_symbols("2*s0 + 1", {"s0": "length"})
        '2*length + 1'
    """
    return _SYMBOL.sub(lambda m: names.get(m[0], m[0]), expression)
