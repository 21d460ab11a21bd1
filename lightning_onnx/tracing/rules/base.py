"""What a rule is, and conditions that several rules share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

aten = torch.ops.aten

Operand: TypeAlias = Tensor | int | float | torch.SymInt
"""What an operator computes with: a tensor, a number, or a size that the graph knows."""


def always(node: fx.Node) -> bool:
    """Hold for every call of an operator."""
    return True


@dataclasses.dataclass(frozen=True)
class Rule:
    """How an operator is written with others that the exporter translates correctly.

    Attributes:
        operators: The operators it is for.
        replacement: Called as the operator is; ``NotImplemented`` leaves that call as it is.
        why: What goes wrong without the rule, in user's code or in the exporter.
        needed: Whether a call in a captured program needs the rule. One that does brings it to all calls.
        of_inputs: Whether it leaves out calls that depend on weights, but not on inputs: their results are better
            computed once for each file.
    """

    operators: tuple[torch._ops.OpOverload, ...]
    replacement: Callable[..., Any]
    why: str
    needed: Callable[[fx.Node], bool] = always
    of_inputs: bool = False


def value(argument: object) -> Any:
    """Return what torch knows of an argument of a node: its fake tensor or symbol, or the number itself."""
    return argument.meta.get("val") if isinstance(argument, fx.Node) else argument


def as_tensor(x: Operand, dtype: torch.dtype) -> Tensor:
    """Return an operand as a tensor of a dtype."""
    return x.to(dtype) if isinstance(x, Tensor) else torch.scalar_tensor(x, dtype=dtype)


def is_float(found: object) -> bool:
    """Tell whether a value is a tensor of real floats."""
    return isinstance(found, Tensor) and found.is_floating_point()


def is_integer(found: object) -> bool:
    """Tell whether a value is a tensor of integers or booleans."""
    return isinstance(found, Tensor) and not (found.is_floating_point() or found.is_complex())


def of_floats(node: fx.Node) -> bool:
    """Tell whether an operator's first operands are floats, at least one of them a tensor."""
    found = [value(a) for a in node.args[:2]]
    return any(is_float(v) for v in found) and not any(isinstance(v, Tensor) and v.is_complex() for v in found)


def is_double(node: fx.Node) -> bool:
    """Tell whether the first operand is a tensor of float64."""
    found = value(node.args[0])
    return isinstance(found, Tensor) and found.dtype == torch.float64
