"""A traced graph with its actual signature; it writes models with new weights without tracing again."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import Signature, SizeRange
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.inner_values import InnerValues
from lightning_onnx.onnxfile.recipes import Array
from lightning_onnx.onnxfile.shared_weights import SharedWeights
from lightning_onnx.onnxfile.writer import Template, Written
from lightning_onnx.profile import measured
from lightning_onnx.tracing.base import EngineModel, Traced
from lightning_onnx.tracing.finish import finish

if TYPE_CHECKING:
    import onnx_ir as ir

log = logging.getLogger(__name__)

_MOVES = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that leave the values of a float tensor as they are."""


@dataclasses.dataclass(frozen=True)
class Graph:
    """A traced graph.

    Attributes:
        traced: What the engine returned.
        request: The inputs, outputs and dims that were asked for.
        signature: Its actual inputs, outputs and dims.
        opset_version: Its opset.
        drop_inner_shapes: Whether shapes inside the graph are left out, because torch wrote wrong ones.
        options: The ``export_options``, of which ``export_params`` and ``keep_initializers_as_inputs`` apply here.
    """

    traced: Traced
    request: Request
    signature: Signature
    opset_version: int
    drop_inner_shapes: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def limited(self, ranges: Mapping[str, SizeRange]) -> Graph:
        """Return the same graph with the sizes at which it is right; steps are told as relations."""
        steps = tuple(f"{dim} is a multiple of {sizes.step}" for dim, sizes in ranges.items() if sizes.step > 1)
        relations = tuple(dict.fromkeys((*self.signature.relations, *steps)))
        signature = dataclasses.replace(self.signature, relations=relations, ranges=dict(ranges))
        graph = dataclasses.replace(self, signature=signature)
        if "_first" in self.__dict__:  # a model is made from what the engine returned only once
            graph.__dict__["_first"] = self._first
        return graph

    @property
    def refreshes(self) -> bool:
        """Whether new weights are written without tracing the module again."""
        return self.traced.trace_again is None

    @property
    def last_operators(self) -> dict[str, str]:
        """The operator that computes each output, by the output's name; those that only move its values are passed."""
        outputs = self.traced.first.model.graph.outputs
        found = {name: _computed_by(value) for name, value in zip(self.request.output_names, outputs, strict=False)}
        return {name: operator for name, operator in found.items() if operator is not None}

    def refresh(
        self,
        weights: FlatModule,
        metadata: Mapping[str, str],
        destination: Path,
        highest_ir_version: int | None = None,
        shared: SharedWeights | None = None,
    ) -> Written:
        """Write the model with other weights.

        Args:
            weights: A module of the traced structure, with the weights to write.
            metadata: Goes into the model's ``metadata_props``.
            destination: The ``.onnx`` file; above 2 GiB the weights go to ``<destination>.data`` beside it.
            highest_ir_version: The highest IR version of the file, if it is limited.
            shared: A file for the weights of this and other models of the directory.
        """
        trace_again = self.traced.trace_again
        if trace_again is None:
            template = self._first
        else:
            with measured("tracing"):
                template = self._template(trace_again(weights))
        return template.write(self._arrays(weights), metadata, destination, highest_ir_version, shared)

    def write_traced(self, weights: FlatModule, destination: Path) -> None:
        """Write the model as it was traced; ``weights`` are those of the trace."""
        self._first.write(self._arrays(weights), {}, destination)

    def inner_values(self, weights: FlatModule) -> InnerValues | None:
        """Return what finds a module's inner values under their names in the file; None if nothing does.

        Args:
            weights: A private copy with the weights that were written.
        """
        return None if self.traced.inner_values is None else self.traced.inner_values(weights)

    def _arrays(self, weights: FlatModule) -> dict[str, Array]:
        found = {}
        for name, tensor in self.traced.weights(weights).items():
            try:
                found[name] = to_numpy(tensor)
            except (NotImplementedError, RuntimeError, TypeError):  # of a class whose values are in inner tensors
                log.debug("the weight %s has no values of its own", name, exc_info=True)
        return found

    @functools.cached_property
    def _first(self) -> Template:
        return self._template(self.traced.first)

    def _template(self, made: EngineModel) -> Template:
        return finish(
            made,
            self.request,
            self.signature,
            symbols=self.traced.symbols,
            drop_inner_shapes=self.drop_inner_shapes,
            export_params=self.options.get("export_params", True),
            initializers_as_inputs=self.options.get("keep_initializers_as_inputs", False),
        )


def _computed_by(value: ir.Value | None) -> str | None:
    node = None if value is None else value.producer()
    while node is not None and node.op_type in _MOVES:
        value = node.inputs[0]
        node = None if value is None else value.producer()
    return None if node is None else node.op_type
