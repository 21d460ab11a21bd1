"""The traced graph with the signature it achieved; gives model bytes for new weights without tracing again."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor

from lightning_onnx.engines import Made, Traced
from lightning_onnx.flat import PREFIX, FlatModule, to_numpy
from lightning_onnx.folding import Array
from lightning_onnx.signature import Request, Signature, TensorSpec
from lightning_onnx.template import Template

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
    loose: bool = False
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


def finish(made: Made, graph: Graph) -> Template:
    """Give the engines' models the same face: names, dims, no private metadata."""
    import onnx_ir as ir

    model = made.model
    recipes = {value: made.recipes[name] for name, value in model.graph.initializers.items()}
    model.graph.name = "main_graph"
    model.graph.doc_string = None
    model.doc_string = None
    _strip(model, graph.loose)
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


def _strip(model: Any, loose: bool) -> None:
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
            if loose and not value.is_graph_output():
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


def rename_expression(expression: str, symbols: Mapping[str, str]) -> str:
    """Replace symbols by names in a dim's expression.

    Example:
        >>> rename_expression("2*s0 + 1", {"s0": "length"})
        '2*length + 1'
    """
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda m: symbols.get(m[0], m[0]), expression)


def achieved(
    traced: Traced, model: Any, request: Request, results: Sequence[tuple[Mapping[str, int], Sequence[Tensor]]]
) -> tuple[Signature, bool]:
    """Compare what an engine declared with what the module gave at several sizes.

    Args:
        traced: What the engine made.
        model: One model of it, before names are given.
        request: What was asked.
        results: Sizes of the dynamic dims, and the module's outputs at them; the traced sizes first.

    Returns:
        The signature, and whether the engine declared a size as constant that varies (its inner shapes are then wrong
        as well and are better left out).
    """
    inputs = tuple(
        TensorSpec(name, dtype_name(t), tuple(axes.get(d, s) for d, s in enumerate(t.shape)))
        for name, t, axes in zip(request.input_names, request.tensors, request.axes, strict=True)
    )
    outputs = []
    loose = False
    for i, name in enumerate(request.output_names):
        declared = list(model.graph.outputs[i].shape or [None] * results[0][1][i].dim())
        shape: list[int | str] = []
        for d, size in enumerate(results[0][1][i].shape):
            sizes = [outputs_[i].shape[d] for _, outputs_ in results if outputs_[i].dim() > d]
            engine_says = declared[d] if d < len(declared) else None
            dim, wrong = _output_dim(
                engine_says, size, sizes, [s for s, _ in results], traced.symbols, f"{name}_dim_{d}"
            )
            loose |= wrong
            shape.append(dim)
        outputs.append(TensorSpec(name, dtype_name(results[0][1][i]), tuple(shape)))
    return Signature(inputs, tuple(outputs), traced.relations), loose


def _output_dim(
    declared: Any, size: int, sizes: list[int], given: list[Mapping[str, int]], symbols: Mapping[str, str], default: str
) -> tuple[int | str, bool]:
    varies = len(set(sizes)) > 1
    if isinstance(declared, int):
        if not varies:
            return declared, False
    elif declared is not None and getattr(declared, "value", None):
        expression = str(declared.value)
        if all(word in symbols for word in re.findall(r"\b[A-Za-z_]\w*\b", expression)):
            return rename_expression(expression, symbols), False
    if not varies and not any(len({g.get(n) for g in given}) > 1 for n in given[0]):
        return (size if isinstance(declared, int) else default), False
    if not varies:  # constant in truth, or by values: torch.export says which, the other engine makes up names
        return (default if symbols and not isinstance(declared, int) and declared is not None else size), False
    for name in given[0]:
        if all(g[name] == s for g, s in zip(given, sizes, strict=False)):
            return name, isinstance(declared, int)
    return default, isinstance(declared, int)


def dtype_name(tensor: Tensor) -> str:
    """Return a tensor's element type as numpy names it.

    Example:
        >>> import torch
        >>> dtype_name(torch.zeros(1))
        'float32'
    """
    return str(tensor.dtype).removeprefix("torch.")
