"""All rules in one table, and running a captured program through them.

A rule writes an operator that the exporter lacks, gets wrong, or bakes in at the traced size, with others that hold for
every size. To add one, write it in the file of its topic and append it to the ``RULES`` there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from lightning_onnx.tracing.rules import (
    attention,
    booleans_integers,
    double,
    elementwise,
    indexing,
    linalg,
    losses,
    pooling,
    sorting,
    special,
)
from lightning_onnx.tracing.rules.base import Rule

RULES: tuple[Rule, ...] = (
    *attention.RULES,
    *booleans_integers.RULES,
    *double.RULES,
    *elementwise.RULES,
    *indexing.RULES,
    *linalg.RULES,
    *losses.RULES,
    *pooling.RULES,
    *sorting.RULES,
    *special.RULES,
)

_BY_OPERATOR: dict[torch._ops.OpOverload, list[Rule]] = {}
for _rule in RULES:
    for _operator in _rule.operators:
        _BY_OPERATOR.setdefault(_operator, []).append(_rule)

_ROUNDS = 4
"""A rule's result may hold operators that another rule is for."""


def for_every_size(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return a program with the operators replaced that need a rule; the same one where none does.

    Args:
        program: A captured program.
    """
    if any(map(_is_written_in_place, program.graph.nodes)):
        program = program.run_decompositions({})  # rules are for operators that write nowhere
    for _ in range(_ROUNDS):
        wanted = _wanted(program)
        if not wanted:
            break
        program = program.run_decompositions({op: _first_of(rules) for op, rules in wanted.items()})
    return program


def _wanted(program: torch.export.ExportedProgram) -> dict[torch._ops.OpOverload, list[Rule]]:
    of_inputs = _depending_on_inputs(program)
    found: dict[torch._ops.OpOverload, list[Rule]] = {}
    for node in program.graph.nodes:
        for rule in _BY_OPERATOR.get(node.target, ()):
            known = found.get(node.target, [])
            if rule not in known and (node in of_inputs or not rule.of_inputs) and rule.needed(node):
                found.setdefault(node.target, []).append(rule)
    return found


def _first_of(rules: Sequence[Rule]) -> Callable[..., Any]:
    """Replace a call by the first rule that is for it."""

    def replacement(*args: Any, **kwargs: Any) -> Any:
        for rule in rules:
            found = rule.replacement(*args, **kwargs)
            if found is not NotImplemented:
                return found
        return NotImplemented

    return replacement


def _is_written_in_place(node: fx.Node) -> bool:
    """Tell whether a node writes into a tensor, and a rule is for its other form or must know what depends on it."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return False
    form = schema.name.removesuffix("_"), schema.overload_name
    others = (r for op, rs in _BY_OPERATOR.items() if (op._schema.name, op._schema.overload_name) == form for r in rs)
    present = (rule for other in node.graph.nodes for rule in _BY_OPERATOR.get(other.target, ()))
    return any(rule.needed(node) for rule in others) or any(rule.of_inputs for rule in present)


def _depending_on_inputs(program: torch.export.ExportedProgram) -> set[fx.Node]:
    inputs = set(program.graph_signature.user_inputs)
    found: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.name in inputs or any(n in found for n in node.all_input_nodes):
            found.add(node)
    return found
