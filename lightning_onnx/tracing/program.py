"""The captured program, to be saved beside the file that was translated from it, with any weights."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.captures.base import Weights

_KEPT = {"val", "nn_module_stack", "torch_fn"}
"""What is kept of a node's metadata: shapes, and the names of modules and functions. The rest has paths and code."""

_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class SavedProgram:
    """A captured program without weights; it takes the graph's inputs, and returns a tuple of its outputs.

    Attributes:
        program: The program.
        weights: Returns a module's weights by the names that the program knows.
    """

    program: torch.export.ExportedProgram
    weights: Weights

    @classmethod
    def of(cls, program: torch.export.ExportedProgram, weights: Weights, names: Mapping[str, Tensor]) -> SavedProgram:
        """Take what is private out of a program, and its weights, which would stay in memory.

        Args:
            program: The program; it is changed, and must not be used otherwise any more.
            weights: Returns a module's weights by the names that the program knows.
            names: The weights by name.
        """
        for graph in _graphs(program.graph_module):
            for node in graph.nodes:
                node.meta = {key: value for key, value in node.meta.items() if key in _KEPT}
        program.example_inputs = None  # rows of the training data
        made = cls(program, weights)
        made._set({name: torch.empty_like(tensor, device="meta") for name, tensor in names.items()})
        return made

    def save(self, flat: FlatModule, destination: Path, extra_files: Mapping[str, str]) -> None:
        """Write the program with the weights of a module.

        Args:
            flat: A module of the traced structure.
            destination: The ``.pt2`` file.
            extra_files: Texts to store in it, by name.
        """
        weights = self.weights(flat)
        with _lock:
            self._set(weights)
            try:
                torch.export.save(self.program, destination, extra_files=dict(extra_files))
            finally:
                self._set({name: torch.empty_like(tensor, device="meta") for name, tensor in weights.items()})

    def _set(self, weights: Mapping[str, Tensor]) -> None:
        parameters = set(self.program.graph_signature.parameters)
        held: tuple[MutableMapping[str, Tensor], ...] = (self.program.state_dict, self.program.constants)
        for tensors in held:
            for name in tensors.keys() & weights.keys():
                values = weights[name].detach().contiguous()
                tensors[name] = nn.Parameter(values, requires_grad=False) if name in parameters else values


def _graphs(module: fx.GraphModule) -> Iterator[fx.Graph]:
    """Yield the graph of a program, and those of its branches and loops."""
    for part in module.modules():
        if isinstance(part, fx.GraphModule):
            yield part.graph
