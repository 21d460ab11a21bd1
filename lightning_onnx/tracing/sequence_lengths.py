"""Lengths of packed sequences in the dtype that torch gives them.

ONNX's recurrent layers take lengths in int32. The TorchScript based exporter converts them where a sequence is packed,
and goes on with the converted ones where torch returns them in int64.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common as passes

_LAYERS = ("RNN", "GRU", "LSTM")
_LENGTHS = 4
"""Index of the layers' input."""


def restore_lengths(model: ir.Model) -> None:
    """Let all but recurrent layers read the lengths as they were before the conversion, and correct what follows.

    Args:
        model: Changed in place.
    """
    changed = [_restore(value) for value in _lengths(model.graph)]
    if any(changed):
        for value in model.graph.outputs:
            value.type = None  # inferred again
        passes.ShapeInferencePass()(model)


def _lengths(graph: ir.Graph) -> list[ir.Value]:
    """Return the converted lengths."""
    found: dict[ir.Value, None] = {}
    for node in ir.traversal.RecursiveGraphIterator(graph):
        if node.op_type in _LAYERS and len(node.inputs) > _LENGTHS and (value := node.inputs[_LENGTHS]) is not None:
            made = value.producer()
            if made is not None and made.op_type == "Cast" and made.attributes["to"].as_int() == ir.DataType.INT32:
                found[value] = None
    return list(found)


def _restore(converted: ir.Value) -> bool:
    """Replace all uses of converted lengths but those by recurrent layers; tell whether there were any."""
    made = converted.producer()
    assert made is not None
    given = made.inputs[0]
    others = [use for use in converted.uses() if use.node.op_type not in _LAYERS]
    for use in others:
        use.node.replace_input_with(use.idx, given)
    if not converted.is_graph_output() or made.graph is None:
        return bool(others)
    for index, output in enumerate(made.graph.outputs):
        if output is converted:
            assert given is not None
            made.graph.outputs[index] = given
    return True
