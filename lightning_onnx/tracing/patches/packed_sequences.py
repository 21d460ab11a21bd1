"""Packed sequences in the graph of the TorchScript based exporter.

That exporter gives the lengths to a recurrent layer instead of packing its input. Where nothing reads the layer's
outputs, it still looks for their first reader, unless only the layer itself reads the sizes of the packed batches.
Where packed sequences are padded again, the result has the length of the layer's input.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor
from torch.nn.utils import rnn

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


_pad = torch._VF._pad_packed_sequence


def pad(
    data: Tensor, batch_sizes: Tensor, batch_first: bool, padding_value: float, total_length: int
) -> tuple[Tensor, Tensor]:
    """Pad as torch does: to the length of the longest sequence, unless the caller of torch's function asks for one."""
    padded, lengths = _pad(data, batch_sizes, batch_first, padding_value, total_length)
    if not _is_length_given():
        longest = lengths.max()
        padded = padded[:, :longest] if batch_first else padded[:longest]
    if padding_value:  # the exporter pads with zeros
        steps = torch.arange(padded.shape[1 if batch_first else 0])
        beyond = steps >= lengths[:, None] if batch_first else steps[:, None] >= lengths
        padded = padded.masked_fill(beyond[..., None], padding_value)
    return padded, lengths


def _is_length_given() -> bool:
    """Tell whether ``pad_packed_sequence``, which passes on a length in any case, was called with one."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not rnn.pad_packed_sequence.__code__:
        frame = frame.f_back
    return frame is None or frame.f_locals["total_length"] is not None
