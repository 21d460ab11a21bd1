"""Joins several graphs, each traced at other sizes, by Ifs that select the right one for the sizes of a call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.onnxfile.recipes import Constant, Recipe
from lightning_onnx.tracing.base import Engine, EngineModel, Traced, Wrapper
from lightning_onnx.tracing.condition_nodes import Place, nodes_of
from lightning_onnx.tracing.conditions import SizeCondition
from lightning_onnx.tracing.dims import rename_symbols, symbols_in

if TYPE_CHECKING:
    import onnx_ir as ir

T = TypeVar("T")

MOST_PIECES = 3
"""Each piece costs a trace, and a graph in the file."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """A graph for some sizes.

    Attributes:
        sizes: The traced sizes of all dims.
        unless: If this condition holds, an earlier piece is used; None for the first piece.
        constant: Dims for which the piece supports a single size only.
    """

    sizes: Mapping[str, int]
    unless: SizeCondition | None = None
    constant: tuple[str, ...] = ()


class Piecewise(Wrapper):
    """Traces at several sizes, for modules that behave differently at some sizes.

    Args:
        engine: The engine that traces.
        pieces: At least two. The last piece whose condition does not hold is used, or else the first one.
    """

    needs_refusal = False

    def __init__(self, engine: Engine, pieces: Sequence[Piece]) -> None:
        super().__init__(engine)
        self.pieces = tuple(pieces)

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        """See ``Engine.trace``."""
        parts = [
            self.engine.trace(module, self._request(request, piece), opset_version, options) for piece in self.pieces
        ]
        join = functools.partial(self._joined, request)

        def weights(of: FlatModule) -> dict[str, Tensor]:
            return {name: tensor for part in parts for name, tensor in part.weights(of).items()}

        def trace_again(of: FlatModule) -> EngineModel:
            again = [
                part if part.trace_again is None else dataclasses.replace(part, first=part.trace_again(of))
                for part in parts
            ]
            return join(again)

        return dataclasses.replace(
            parts[0],
            first=join(parts),
            trace_again=None if all(part.trace_again is None for part in parts) else trace_again,
            weights=weights,
            symbols={dim: dim for dim in request.dims},
            constant_dims=tuple(
                constant
                for piece, part in zip(self.pieces, parts, strict=True)
                for constant in part.constant_dims
                if constant.dim not in piece.constant
            ),
            assumed_ranges=(),
            conditions=tuple(dict.fromkeys(condition for part in parts for condition in part.conditions)),
            relations=_common([part.relations for part in parts]),
            unused_inputs=_common([part.unused_inputs for part in parts]),
            kept=tuple(dict.fromkeys(line for part in parts for line in part.kept)),
            inner_values=None,
            program=None,
        )

    def _request(self, request: Request, piece: Piece) -> Request:
        axes = tuple({d: name for d, name in axes.items() if name not in piece.constant} for axes in request.axes)
        return dataclasses.replace(request, tensors=request.resized(piece.sizes), axes=axes)

    def _joined(self, request: Request, parts: Sequence[Traced]) -> EngineModel:
        for part in parts:
            _use_names(part.first.model, part.symbols)
        places = {name: (i, d) for i, axes in enumerate(request.axes) for d, name in axes.items()}
        joined = parts[0].first
        for number, (piece, part) in enumerate(zip(self.pieces, parts, strict=True)):
            if piece.unless is not None:
                joined = _join(joined, part.first, piece.unless, places, number)
        return joined


def _common(found: Sequence[tuple[T, ...]]) -> tuple[T, ...]:
    """Return what is in all of several tuples, in the order of the first."""
    return tuple(item for item in found[0] if all(item in others for others in found[1:]))


def _use_names(model: ir.Model, symbols: Mapping[str, str]) -> None:
    """Name the dims of the outputs, and remove the shapes of inner values: each piece has its own symbols."""
    import onnx_ir as ir

    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for value in node.outputs:
            if value not in model.graph.outputs:
                value.shape = None
    for value in model.graph.outputs:
        if value.shape is not None:
            value.shape = ir.Shape([_named(dim, symbols) for dim in value.shape])


def _named(dim: int | ir.SymbolicDim, symbols: Mapping[str, str]) -> int | str | None:
    if isinstance(dim, int):
        return dim
    expression = str(dim.value or "")
    known = bool(expression) and all(symbol in symbols for symbol in symbols_in(expression))
    return rename_symbols(expression, symbols) if known else None


def _join(
    first: EngineModel, second: EngineModel, condition: SizeCondition, places: Mapping[str, Place], number: int
) -> EngineModel:
    """Return a model that computes ``first`` if a condition holds, and ``second`` otherwise.

    Args:
        first: A model; its nodes are moved.
        second: Another model with the same inputs and outputs; its nodes are moved too.
        condition: The condition.
        places: The place of each dim.
        number: Number of the piece, for names.

    Raises:
        EngineError: If the rank of an output differs between the models.
    """
    import onnx_ir as ir

    pairs = list(zip(first.model.graph.outputs, second.model.graph.outputs, strict=True))
    if any(a.shape is not None and b.shape is not None and len(a.shape) != len(b.shape) for a, b in pairs):
        raise EngineError("an output has more dims at some sizes than at others")
    inputs = [ir.Value(name=v.name, type=v.type, shape=v.shape) for v in first.model.graph.inputs]
    outputs = [ir.Value(name=a.name, type=a.type, shape=_common_shape(a, b)) for a, b in pairs]
    weights: dict[str, ir.Value] = {}
    recipes: dict[str, Recipe] = {}
    branches = [
        _branch(made, inputs, weights, recipes, suffix)
        for made, suffix in ((first, f"then{number}"), (second, f"else{number}"))
    ]
    deciding = nodes_of(condition, inputs, places, f"piece{number}_")
    attributes = {"then_branch": branches[0], "else_branch": branches[1]}
    choice = ir.node("If", [deciding[-1].outputs[0]], attributes, outputs=outputs)
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=[*deciding, choice],
        initializers=list(weights.values()),
        opset_imports=dict(first.model.graph.opset_imports) | dict(second.model.graph.opset_imports),
        name=first.model.graph.name,
    )
    functions = {**second.model.functions, **first.model.functions}
    model = ir.Model(graph, ir_version=first.model.ir_version, functions=list(functions.values()))
    return EngineModel(model, recipes)


def _common_shape(first: ir.Value, second: ir.Value) -> ir.Shape | None:
    import onnx_ir as ir

    if first.shape is None or second.shape is None or len(first.shape) != len(second.shape):
        return None
    return ir.Shape([a if a == b else None for a, b in zip(first.shape, second.shape, strict=True)])


def _branch(
    made: EngineModel,
    inputs: Sequence[ir.Value],
    weights: dict[str, ir.Value],
    recipes: dict[str, Recipe],
    suffix: str,
) -> ir.Graph:
    """Turn a model into a subgraph that uses the inputs and weights of the outer graph.

    Args:
        made: The model.
        inputs: The inputs of the outer graph.
        weights: The weights of the outer graph by name; missing ones are added.
        recipes: The recipes of the weights; missing ones are added too.
        suffix: Suffix of the names inside the subgraph.
    """
    import onnx_ir as ir

    graph = made.model.graph
    outer: dict[ir.Value, ir.Value] = dict(zip(graph.inputs, inputs, strict=True))
    for name, value in list(graph.initializers.items()):
        recipe = made.recipes[name]
        while name in weights and not _same(recipe, recipes[name]):
            name = f"{name}__{suffix}"
        if name not in weights:
            weights[name] = ir.Value(name=name, type=value.type, shape=value.shape, const_value=value.const_value)
            recipes[name] = recipe
        outer[value] = weights[name]
    outputs = list(graph.outputs)
    graph.outputs.clear()
    nodes = list(graph)
    _rename(graph, suffix)
    for value, replacement in outer.items():
        ir.convenience.replace_all_uses_with(value, replacement)
    graph.remove(nodes)
    for i, value in enumerate(outputs):
        if value in outer or value in outputs[:i]:
            node = ir.node("Identity", [outer.get(value, value)])
            node.outputs[0].name = f"{value.name}__{suffix}_{i}"
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            nodes.append(node)
            outputs[i] = node.outputs[0]
    return ir.Graph([], outputs, nodes=nodes, name=suffix)


def _rename(graph: ir.Graph, suffix: str) -> None:
    """Rename the values of a graph and of its subgraphs, so that the names differ from the other branch's."""
    import onnx_ir as ir

    for node in ir.traversal.RecursiveGraphIterator(graph):
        inner = [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]
        for value in (*node.outputs, *(v for g in inner for v in g.inputs)):
            value.name = f"{value.name}__{suffix}"


def _same(first: Recipe, second: Recipe) -> bool:
    """Tell whether two recipes give the same value for any weights."""
    if isinstance(first, Constant) and isinstance(second, Constant):
        return (
            first.values.dtype == second.values.dtype
            and first.values.shape == second.values.shape
            and first.values.tobytes() == second.values.tobytes()
        )
    return first == second
