"""Programs that the exporter translates as they were captured, without a run that decomposes them.

Such a run takes as long as a capture, and returns the same program if each operator has a translation.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

import torch
from torch import fx
from torch.export import ExportedProgram

from lightning_onnx.tracing.rules.base import Rule


def needs_no_run(program: ExportedProgram, translated: Collection[object], rules: Sequence[Rule]) -> bool:
    """Tell whether each operator of a program has a translation, writes nowhere, and needs no rule.

    Args:
        program: A captured program.
        translated: The operators that have translations.
        rules: The rules.
    """
    nodes = [node for node in program.graph.nodes if node.op not in ("placeholder", "output")]
    return all(_is_translated(node, translated) and not any(_is_for(rule, node) for rule in rules) for node in nodes)


def copy_of(program: ExportedProgram) -> ExportedProgram:
    """Return a program with a graph of its own, because the exporter changes the one that it is given."""
    copied = copy.copy(program)
    copied._graph_module = fx.GraphModule(program.graph_module, copy.deepcopy(program.graph))
    return copied


def _is_translated(node: fx.Node, translated: Collection[object]) -> bool:
    if node.op != "call_function":
        return False  # a part of the graph that is a graph of its own
    if not isinstance(node.target, torch._ops.OpOverload):
        return not isinstance(node.target, torch._ops.OperatorBase)  # arithmetic of sizes
    return node.target in translated and not node.target._schema.is_mutable


def _is_for(rule: Rule, node: fx.Node) -> bool:
    if node.target not in rule.operators:
        return False
    return rule.needed(node) and (rule.needed_in is None or rule.needed_in(node))
