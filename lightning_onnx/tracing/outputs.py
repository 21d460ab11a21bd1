"""Outputs of a graph that are values of their own."""

from __future__ import annotations

import onnx_ir as ir


def separate_outputs(graph: ir.Graph) -> None:
    """Give each output a value of its own: one that is an input, a weight or another output passes an Identity."""
    seen: set[ir.Value] = set()
    for index, value in enumerate(graph.outputs):
        if value in seen or value.is_graph_input() or value.is_initializer():
            node = ir.node("Identity", [value])
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            graph.outputs[index] = node.outputs[0]
        seen.add(graph.outputs[index])
