"""Programs that the exporter translates as they were captured, without a run that decomposes them.

Such a run takes as long as a capture, and returns the same program if each operator has a translation.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

import torch
from torch import fx
from torch._export.utils import _is_cia_op, _is_preservable_cia_op
from torch.export import ExportedProgram

from lightning_onnx.tracing.rules.base import Rule, aten

_LIKE_THEIR_DECOMPOSITION = (aten.contiguous.default, aten.dropout.default, aten.reshape.default, aten.unflatten.int)
"""Composite operators whose translation is right at all sizes; the optimizer removes dropout."""


def needs_no_run(program: ExportedProgram, translated: Collection[object], rules: Sequence[Rule]) -> bool:
    """Tell whether each operator of a program has a translation, writes nowhere, and needs no rule.

    Args:
        program: A captured program.
        translated: The operators that have translations.
        rules: The rules.
    """
    nodes = [node for node in program.graph.nodes if node.op not in ("placeholder", "output")]
    return all(_is_translated(node, translated) and not any(rule.is_for(node) for rule in rules) for node in nodes)


def copy_of(program: ExportedProgram) -> ExportedProgram:
    """Return a program without dead code, with a graph of its own: the exporter changes the one that it is given."""
    copied, graph = copy.copy(program), copy.deepcopy(program.graph)
    graph.eliminate_dead_code()  # as decompositions do: an input that only dead code reads is not used
    copied._graph_module = fx.GraphModule(program.graph_module, graph)
    return copied


def _is_translated(node: fx.Node, translated: Collection[object]) -> bool:
    if node.op != "call_function":
        return False  # a part of the graph that is a graph of its own
    if not isinstance(node.target, torch._ops.OpOverload):
        return not isinstance(node.target, torch._ops.OperatorBase)  # arithmetic of sizes
    if node.target is aten.dropout.default and node.args[2]:
        return False  # in training mode
    is_kept = node.target in _LIKE_THEIR_DECOMPOSITION or not _is_decomposed_in_any_case(node.target)
    return is_kept and node.target in translated and not node.target._schema.is_mutable


def _is_decomposed_in_any_case(operator: torch._ops.OpOverload) -> bool:
    """Tell whether torch decomposes an operator also if it has a translation: its result may be its input, or a view.

    Such translations are not used elsewhere, and some are wrong: that of ``chunk`` at sizes that are not divisible.
    """
    return _is_cia_op(operator) and not _is_preservable_cia_op(operator)
