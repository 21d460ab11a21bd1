"""Packed sequences of which only the final state is used, in the graph of the TorchScript based exporter.

That exporter gives the lengths to a recurrent layer instead of packing its input. Where nothing reads the layer's
outputs, it still looks for their first reader, unless only the layer itself reads the sizes of the packed batches.
"""

from __future__ import annotations

import torch

_original = torch._C._jit_pass_onnx_peephole

_LAYERS = ("onnx::GRU", "onnx::LSTM", "onnx::RNN")


def peephole(graph: torch._C.Graph, opset_version: int, fixed_batch_size: bool) -> None:
    """Run torch's pass on a graph in which layers that give only a state read the batch size from padded sequences."""
    for pack in [node for node in graph.nodes() if node.kind() == "prim::PackPadded"]:
        if any(_gives_only_a_state(use.user) for use in pack.outputsAt(1).uses()):
            _read_batch_size_of_input(graph, pack)
    _original(graph, opset_version, fixed_batch_size)


def _gives_only_a_state(node: torch._C.Node) -> bool:
    return node.kind() in _LAYERS and not node.outputsAt(0).uses()


def _read_batch_size_of_input(graph: torch._C.Graph, pack: torch._C.Node) -> None:
    """Replace the size of the first packed batch, from which torch makes the first state, by that of the input."""
    padded, sizes = pack.inputsAt(0), pack.outputsAt(1)  # the padded sequences are time first
    for read in [use.user for use in sizes.uses() if use.user.kind() == "onnx::Gather" and use.offset == 0]:
        batch_dim = graph.create("onnx::Constant", [], 1).t_("value", torch.tensor(1)).insertBefore(read)
        shape = graph.create("onnx::Shape", [padded], 1).insertBefore(read)
        read.replaceInput(0, shape.output())
        read.replaceInput(1, batch_dim.output())
