"""What a rule is, and conditions that several rules share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, fx

aten = torch.ops.aten

Operand: TypeAlias = Tensor | int | float | torch.SymInt
"""What an operator computes with: a tensor, a number, or a size that the graph knows."""


class Call(Protocol):
    """A call of an operator: a node of a program, or one that runs with torch's fake tensors."""

    @property
    def target(self) -> object:
        """The operator."""

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments by position."""

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The arguments by name."""


def always(call: Call) -> bool:
    """Hold for every call of an operator."""
    return True


@dataclasses.dataclass(frozen=True)
class Rule:
    """How an operator is written with others that the exporter translates correctly.

    Attributes:
        operators: The operators it is for.
        replacement: Called as the operator is; ``NotImplemented`` leaves that call as it is.
        why: What goes wrong without the rule, in user's code or in the exporter.
        needed: Whether a call needs the rule.
        needed_in: Whether a node of the captured program needs it, by the nodes around it; one that does brings it to
            all calls. None if ``needed`` is enough.
        of_inputs: Whether it leaves out calls that depend on weights, but not on inputs: their results are better
            computed once for each file.
    """

    operators: tuple[torch._ops.OpOverload, ...]
    replacement: Callable[..., Any]
    why: str
    needed: Callable[[Call], bool] = always
    needed_in: Callable[[fx.Node], bool] | None = None
    of_inputs: bool = False

    @property
    def is_of_program(self) -> bool:
        """Whether only the captured program shows that the rule is needed."""
        return self.of_inputs or self.needed_in is not None

    def is_for(self, node: fx.Node) -> bool:
        """Tell whether a node of a captured program needs the rule, whatever it depends on."""
        if node.target not in self.operators:
            return False
        return self.needed(node) and (self.needed_in is None or self.needed_in(node))


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


def of_floats(call: Call) -> bool:
    """Tell whether an operator's first operands are floats, at least one of them a tensor."""
    found = [value(a) for a in call.args[:2]]
    return any(is_float(v) for v in found) and not any(isinstance(v, Tensor) and v.is_complex() for v in found)


def is_double(call: Call) -> bool:
    """Tell whether the first operand is a tensor of float64."""
    found = value(call.args[0])
    return isinstance(found, Tensor) and found.dtype == torch.float64
