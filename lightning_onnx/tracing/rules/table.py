"""All rules in one table, and running a captured program through them.

A rule writes an operator that the exporter lacks, gets wrong, or bakes in at the traced size, with others that hold for
every size. To add one, write it in the file of its topic, append it to the ``RULES`` there, and give it a case in
``tests/tracing/rules/cases.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
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


def translations() -> dict[Any, Callable[..., Any]]:
    """Return translations for ``custom_translation_table`` of ``torch.onnx.export(dynamo=True)``, by operator."""
    topics = antialiased, size_arithmetic, convolutions, boxes, grouped, unique
    return {operator: found for topic in topics for operator, found in topic.translations().items()}


_Decompositions = Mapping[Any, Callable[..., object]]
"""What to write operators with, as ``ExportedProgram.run_decompositions`` takes it."""


def decomposed(
    program: torch.export.ExportedProgram, decompositions: _Decompositions, rules: tuple[Rule, ...] = RULES
) -> torch.export.ExportedProgram:
    """Run decompositions on a program, and rules in the same run, because each run takes as long as a capture.

    A rule comes before a decomposition of its operator, and is also for what others write.

    Args:
        program: A captured program.
        decompositions: What to write operators with that have no rule.
        rules: The rules; the first one that replaces a call counts.
    """
    if _hides_what_rules_need(program, rules):
        program = program.run_decompositions({})  # now no operator writes in place
    of_weights = _depending_on_weights_only(program)
    by_operator: dict[torch._ops.OpOverload, list[Rule]] = {}
    for rule in rules:
        left_out = of_weights if rule.of_inputs else set()
        if not rule.is_of_program or any(rule.is_for(node) for node in program.graph.nodes if node not in left_out):
            for operator in rule.operators:
                by_operator.setdefault(operator, []).append(rule)
    added = {op: _first_of(op, found, decompositions.get(op)) for op, found in by_operator.items()}
    written: torch.export.ExportedProgram = program.run_decompositions({**decompositions, **added})
    return written


@dataclasses.dataclass(frozen=True)
class _RunningCall:
    target: torch._ops.OpOverload
    args: tuple[object, ...]
    kwargs: Mapping[str, object]


def _first_of(
    operator: torch._ops.OpOverload, rules: Sequence[Rule], otherwise: Callable[..., object] | None
) -> Callable[..., object]:
    """Replace a call by the first rule that is for it, or else as without rules."""

    def replacement(*args: object, **kwargs: object) -> object:
        call = _RunningCall(operator, args, kwargs)
        for rule in rules:
            found = rule.replacement(*args, **kwargs) if rule.needed(call) else NotImplemented
            if found is not NotImplemented:
                return found
        return NotImplemented if otherwise is None else otherwise(*args, **kwargs)

    return replacement


def _hides_what_rules_need(program: torch.export.ExportedProgram, rules: Sequence[Rule]) -> bool:
    """Tell whether operators write in place where a rule has to know what depends on what."""
    forms = {(op._schema.name, op._schema.overload_name) for r in rules if r.is_of_program for op in r.operators}
    of_inputs = {op for rule in rules if rule.of_inputs for op in rule.operators}
    writes = {
        (schema.name.removesuffix("_"), schema.overload_name)
        for node in program.graph.nodes
        if (schema := getattr(node.target, "_schema", None)) is not None and schema.is_mutable
    }
    return bool(writes & forms) or bool(writes and any(node.target in of_inputs for node in program.graph.nodes))


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
