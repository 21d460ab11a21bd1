"""The traced graph with the signature it achieved; gives model bytes for new weights without tracing again."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import GraphProto
from torch import Tensor

from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.flat import PREFIX, FlatModule
from lightning_onnx.module.inner_values import InnerValues, OnValue
from lightning_onnx.onnxfile.recipes import Array
from lightning_onnx.onnxfile.writer import Template
from lightning_onnx.tracing.base import EngineModel, Traced
from lightning_onnx.tracing.dims import rename_expression
from lightning_onnx.tracing.inner.boundaries import Boundaries
from lightning_onnx.tracing.inner.replay import Program

_KEPT_METADATA = ("pkg.torch.onnx.class_hierarchy", "pkg.torch.onnx.name_scopes")
"""What a node says of its origin. Stack traces and source lines, which torch adds, do not travel."""

_SCOPE = f"/{PREFIX.rstrip('.')}/"


@dataclasses.dataclass(frozen=True)
class Graph:
    """A traced graph.

    Attributes:
        traced: What the engine made.
        request: What was asked of it.
        signature: What it achieved.
        opset_version: Its opset.
        loose: Whether shapes inside the graph are left out, because torch wrote wrong ones.
        options: The ``export_options``, of which ``export_params`` and ``keep_initializers_as_inputs`` act here.
    """

    traced: Traced
    request: Request
    signature: Signature
    opset_version: int
    drop_inner_shapes: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def refresh(self, weights: FlatModule, metadata: Mapping[str, str], destination: Path) -> onnx.ModelProto:
        """Write the model with other weights.

        Args:
            weights: A module of the traced structure, with the weights to write.
            metadata: Goes into the model's ``metadata_props``.
            destination: The ``.onnx`` file; above 2 GiB the weights go to ``<destination>.data`` beside it.

        Returns:
            The model without its weights' values.
        """
        template = self._first if self.traced.model is None else finish(self.traced.model(weights), self)
        return template.write(self._arrays(weights), metadata, destination)

    def write_traced(self, weights: FlatModule, destination: Path) -> None:
        """Write the model as it was traced; ``weights`` are those of the trace."""
        self._first.write(self._arrays(weights), {}, destination)

    def _arrays(self, weights: FlatModule) -> dict[str, Array]:
        return {name: to_numpy(tensor) for name, tensor in self.traced.values(weights).items()}

    @functools.cached_property
    def _first(self) -> Template:
        return finish(self.traced.first, self)


def finish(made: EngineModel, graph: Graph) -> Template:
    """Give the engines' models the same face: names, dims, no private metadata."""
    import onnx_ir as ir

    model = made.model
    recipes = {value: made.recipes[name] for name, value in model.graph.initializers.items()}
    model.graph.name = "main_graph"
    model.graph.doc_string = None
    model.doc_string = None
    _strip(model, graph.drop_inner_shapes)
    _separate_outputs(model)
    _rename_values(model.graph, graph.request)
    for name in list(model.graph.initializers):
        value = model.graph.initializers[name]
        if name.startswith(PREFIX):
            value.name = name.removeprefix(PREFIX)
    specs = (*graph.signature.inputs, *graph.signature.outputs)
    for value, spec in zip((*model.graph.inputs, *model.graph.outputs), specs, strict=False):
        value.shape = ir.Shape(spec.shape)
    _rename_dims(model, graph.traced.symbols)
    weights = list(model.graph.initializers.values())
    if not graph.options.get("export_params", True):
        model.graph.initializers.clear()
        model.graph.inputs.extend(weights)
    elif graph.options.get("keep_initializers_as_inputs", False):
        model.graph.inputs.extend(weights)
    return Template.of(model, recipes)


def _strip(model: Any, drop_inner_shapes: bool) -> None:
    """Remove what is private or changes from run to run; rename scopes as if the wrapper were not there."""
    import onnx_ir as ir

    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        node.doc_string = None
        kept = {k: _unwrapped(node.metadata_props[k]) for k in _KEPT_METADATA if k in node.metadata_props}
        node.metadata_props.clear()
        node.metadata_props.update(kept)
        if node.name:
            node.name = _unprefixed(node.name)
        for value in node.outputs:
            value.metadata_props.clear()
            value.doc_string = None
            if value.name:
                value.name = _unprefixed(value.name)
            if drop_inner_shapes and not value.is_graph_output():
                value.shape = None
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
    model.graph.metadata_props.clear()


def _unprefixed(name: str) -> str:
    """Take the wrapper off a name that the TorchScript based engine made of scopes."""
    return name.replace(_SCOPE, "/", 1) if name.startswith(_SCOPE) else name


def _unwrapped(text: str) -> str:
    text = re.sub(r"^\['[^']*FlatModule', ", "[", text)
    return text.replace("['', 'module'", "[''", 1).replace(f"'{PREFIX}", "'")


def _separate_outputs(model: Any) -> None:
    """Give each output a value of its own: one that is an input, a weight or given twice passes an Identity."""
    import onnx_ir as ir

    seen: set[Any] = set()
    for index, value in enumerate(model.graph.outputs):
        if value in seen or value.is_graph_input() or value.is_initializer():
            node = ir.node("Identity", [value])
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            model.graph.append(node)
            model.graph.outputs[index] = node.outputs[0]
        seen.add(model.graph.outputs[index])


def _rename_values(graph: Any, request: Request) -> None:
    wanted = dict(zip((*graph.inputs, *graph.outputs), (*request.input_names, *request.output_names), strict=False))
    taken = set(wanted.values())
    for node in graph:
        for value in node.outputs:
            if value not in wanted and value.name in taken:
                value.name = f"{value.name}__inner"
    for value in list(graph.initializers.values()):
        if value.name in taken:
            value.name = f"{value.name}__weight"
    for number, value in enumerate(wanted):
        value.name = f"__renamed_{number}"
    for value, name in wanted.items():
        value.name = name


def _rename_dims(model: Any, symbols: Mapping[str, str]) -> None:
    """Replace the engine's own symbols in all shapes."""
    import onnx_ir as ir

    def renamed(dim: Any) -> Any:
        if isinstance(dim, ir.SymbolicDim) and dim.value:
            return ir.SymbolicDim(rename_expression(str(dim.value), symbols))
        return dim

    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.outputs:
            if value.shape is not None and not value.is_graph_output():
                value.shape = ir.Shape([renamed(dim) for dim in value.shape])


def inner_values(traced: Traced, flat: FlatModule) -> InnerValues | None:
    """Return what tells a module's inner values; None where nothing does.

    Args:
        traced: What an engine made of it.
        flat: A private copy with the exported weights.
    """
    if traced.program is not None:
        return functools.partial(_replayed, traced.program, traced.values, flat)
    return Boundaries(flat) if traced.engine == "torchscript" else None


def _replayed(
    program: Program,
    values: Callable[[FlatModule], Mapping[str, Tensor]],
    flat: FlatModule,
    graph: GraphProto,
    tensors: Sequence[Tensor],
    take: OnValue,
) -> None:
    names = {v: v.removesuffix("__inner") for node in graph.node for v in node.output}
    by_step = {step: value for value, step in names.items()}
    for output, step in zip(reversed(graph.output), reversed(program.outputs), strict=True):
        if step is not None:
            by_step[step] = output.name
    with torch.no_grad(), flat.random_state_kept():
        program.run(values(flat), tensors, by_step, take)
