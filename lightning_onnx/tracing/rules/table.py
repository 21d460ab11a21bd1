"""All rules in one table, and running a captured program through them.

A rule writes an operator that the exporter lacks, gets wrong, or bakes in at the traced size, with others that hold for
every size. To add one, write it in the file of its topic, append it to the ``RULES`` there, and give it a case in
``tests/tracing/rules/cases.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from lightning_onnx.tracing.rules import (
    antialiased,
    attention,
    bfloat16,
    booleans_integers,
    boxes,
    clamp,
    convolutions,
    double,
    elementwise,
    fourier,
    grouped,
    indexing,
    linalg,
    losses,
    pooling,
    random_numbers,
    resizing,
    short_integers,
    sigmoid,
    size_arithmetic,
    sorting,
    special,
    unique,
)
from lightning_onnx.tracing.rules.base import Rule

RULES: tuple[Rule, ...] = (
    *attention.RULES,
    *bfloat16.RULES,
    *booleans_integers.RULES,
    *clamp.RULES,
    *double.RULES,
    *elementwise.RULES,
    *fourier.RULES,
    *indexing.RULES,
    *linalg.RULES,
    *losses.RULES,
    *pooling.RULES,
    *random_numbers.RULES,
    *resizing.RULES,
    *short_integers.RULES,
    *sigmoid.RULES,
    *sorting.RULES,
    *special.RULES,
)

_ROUNDS = 4
"""A rule's result may hold operators that another rule is for."""


def translations() -> dict[Any, Callable[..., Any]]:
    """Return translations for ``custom_translation_table`` of ``torch.onnx.export(dynamo=True)``, by operator."""
    topics = antialiased, size_arithmetic, convolutions, boxes, grouped, unique
    return {operator: found for topic in topics for operator, found in topic.translations().items()}


def for_every_size(
    program: torch.export.ExportedProgram, rules: tuple[Rule, ...] = RULES
) -> torch.export.ExportedProgram:
    """Return a program with the operators replaced that need a rule; the same one if none does.

    Args:
        program: A captured program.
        rules: The rules to apply; the first one that replaces a call counts.
    """
    by_operator = _by_operator(rules)
    if any(_is_written_in_place(node, by_operator) for node in program.graph.nodes):
        program = program.run_decompositions({})  # rules are for operators that write nowhere
    for _ in range(_ROUNDS):
        wanted = _wanted(program, by_operator)
        if not wanted:
            break
        program = program.run_decompositions({op: _first_of(found) for op, found in wanted.items()})
    return program


_ByOperator = dict[torch._ops.OpOverload, list[Rule]]


@functools.cache
def _by_operator(rules: tuple[Rule, ...]) -> _ByOperator:
    found: _ByOperator = {}
    for rule in rules:
        for operator in rule.operators:
            found.setdefault(operator, []).append(rule)
    return found


def _wanted(program: torch.export.ExportedProgram, by_operator: _ByOperator) -> _ByOperator:
    of_weights = _depending_on_weights_only(program)
    found: _ByOperator = {}
    for node in program.graph.nodes:
        for rule in by_operator.get(node.target, ()):
            known = found.get(node.target, [])
            if rule not in known and not (rule.of_inputs and node in of_weights) and rule.needed(node):
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


def _is_written_in_place(node: fx.Node, by_operator: _ByOperator) -> bool:
    """Tell whether a node writes into a tensor, and a rule is for its other form or must know what depends on it."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return False
    form = schema.name.removesuffix("_"), schema.overload_name
    others = (r for op, rs in by_operator.items() if (op._schema.name, op._schema.overload_name) == form for r in rs)
    present = (rule for other in node.graph.nodes for rule in by_operator.get(other.target, ()))
    return any(rule.needed(node) for rule in others) or any(rule.of_inputs for rule in present)


def _depending_on_weights_only(program: torch.export.ExportedProgram) -> set[fx.Node]:
    """Return the nodes that are made from weights, and from no input; constants of the method are neither."""
    inputs = set(program.graph_signature.user_inputs)
    of_weights: set[fx.Node] = set()
    of_inputs: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.op == "placeholder":
            (of_inputs if node.name in inputs else of_weights).add(node)
        elif any(n in of_inputs for n in node.all_input_nodes):
            of_inputs.add(node)
        elif any(n in of_weights for n in node.all_input_nodes):
            of_weights.add(node)
    return of_weights
