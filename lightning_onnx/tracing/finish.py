"""Give the models of all engines the same form: names, dims, and no private metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.flat import PREFIX
from lightning_onnx.onnxfile.writer import Template
from lightning_onnx.tracing.base import EngineModel
from lightning_onnx.tracing.dims import rename_symbols
from lightning_onnx.tracing.outputs import separate_outputs

if TYPE_CHECKING:
    import onnx_ir as ir

_KEPT_METADATA = ("pkg.torch.onnx.class_hierarchy", "pkg.torch.onnx.name_scopes")
"""Metadata about a node's origin that stays. Stack traces and source lines, which torch adds, are private."""

_SCOPE = f"/{PREFIX.rstrip('.')}/"


def finish(
    made: EngineModel,
    request: Request,
    signature: Signature,
    *,
    symbols: Mapping[str, str],
    drop_inner_shapes: bool,
    export_params: bool,
    initializers_as_inputs: bool,
) -> Template:
    """Name and clean a model, and take its weights out of it.

    Args:
        made: The model; it is changed in place.
        request: Names of inputs and outputs.
        signature: Their shapes.
        symbols: Names of the dims by the engine's symbols.
        drop_inner_shapes: Whether to remove the shapes of values inside the graph.
        export_params: Whether the file holds the weights; else they become inputs.
        initializers_as_inputs: Whether the weights are inputs with default values.
    """
    import onnx_ir as ir

    model = made.model
    recipes = {value: made.recipes[name] for name, value in model.graph.initializers.items()}
    model.graph.name = "main_graph"
    model.graph.doc_string = None
    model.doc_string = None
    _remove_private(model, drop_inner_shapes)
    separate_outputs(model.graph)
    _rename_values(model.graph, request)
    _rename_weights(model.graph)
    specs = (*signature.inputs, *signature.outputs)
    for value, spec in zip((*model.graph.inputs, *model.graph.outputs), specs, strict=False):
        value.shape = ir.Shape(spec.shape)
    _rename_dims(model, symbols)
    weights = list(model.graph.initializers.values())
    if not export_params:
        model.graph.initializers.clear()
        model.graph.inputs.extend(weights)
    elif initializers_as_inputs:
        model.graph.inputs.extend(weights)
    return Template.of(model, recipes)


def _remove_private(model: ir.Model, drop_inner_shapes: bool) -> None:
    """Remove what is private or changes between runs, and name scopes as if there were no wrapper."""
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
    """Remove the wrapper from a name that the TorchScript based engine made of scopes."""
    return name.replace(_SCOPE, "/", 1) if name.startswith(_SCOPE) else name


def _unwrapped(text: str) -> str:
    """Remove the wrapper, and addresses in memory, from a list of scopes or of classes."""
    text = re.sub(r"^\['[^']*FlatModule', ", "[", text)
    text = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"<function \1>", text)
    return text.replace("['', 'module'", "[''", 1).replace(f"'{PREFIX}", "'")


def _rename_values(graph: ir.Graph, request: Request) -> None:
    wanted = dict(zip((*graph.inputs, *graph.outputs), (*request.input_names, *request.output_names), strict=False))
    taken = set(wanted.values())
    for node in graph:
        for value in node.outputs:
            if value not in wanted and value.name in taken:
                value.name = f"{value.name}__inner"
    for number, value in enumerate(wanted):  # two of them may swap their names
        value.name = f"__renamed_{number}"
    for value, name in wanted.items():
        value.name = name


def _rename_weights(graph: ir.Graph) -> None:
    """Name weights as the module does; if another value has the name, the weight gets a different one."""
    import onnx_ir as ir

    made = (value for node in ir.traversal.RecursiveGraphIterator(graph) for value in node.outputs)
    taken = {value.name for value in (*graph.inputs, *graph.outputs, *made)}
    for value in list(graph.initializers.values()):
        assert value.name is not None
        name = value.name.removeprefix(PREFIX)
        value.name = f"{name}__weight" if name in taken else name


def _rename_dims(model: ir.Model, symbols: Mapping[str, str]) -> None:
    """Replace the engine's own symbols in the shapes of inner values."""
    import onnx_ir as ir

    def renamed(dim: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
        if isinstance(dim, ir.SymbolicDim) and dim.value:
            return ir.SymbolicDim(rename_symbols(str(dim.value), symbols))
        return dim

    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.outputs:
            if value.shape is not None and not value.is_graph_output():
                value.shape = ir.Shape([renamed(dim) for dim in value.shape])
