"""What is computed from a module's weights before they stand in the file: transposes, and norms folded into layers.

A graph is optimized once, while its weights are unknown: an optimizer that sees values merges parameters that happen to
be equal, and the graph is then wrong for the next weights. What depends on values is kept as a recipe, and is
computed anew for each set of weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
State = Mapping[str, Array]


class Recipe(Protocol):
    """Makes one initializer from a module's state."""

    def __call__(self, state: State) -> Array:
        """Return the initializer's values.

        Args:
            state: All parameters and buffers by name.
        """


@dataclasses.dataclass(frozen=True)
class Constant:
    """The same for all weights."""

    values: Any

    def __call__(self, state: State) -> Array:
        """See ``Recipe``."""
        return np.asarray(self.values.numpy())


@dataclasses.dataclass(frozen=True)
class Plain:
    """A parameter or buffer as it is."""

    name: str

    def __call__(self, state: State) -> Array:
        """See ``Recipe``."""
        return state[self.name]


@dataclasses.dataclass(frozen=True)
class Transposed:
    """A parameter with its dims in another order."""

    source: Recipe
    perm: tuple[int, ...]

    def __call__(self, state: State) -> Array:
        """See ``Recipe``."""
        return self.source(state).transpose(self.perm)


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """A batch norm in inference: ``y = (x - mean) * scale + shift`` with ``scale = weight / sqrt(var + epsilon)``."""

    weight: Recipe
    shift: Recipe
    mean: Recipe
    var: Recipe
    epsilon: float

    def scale(self, state: State) -> Array:
        """Return the factor of each channel, in float64."""
        factor: Array = self.weight(state).astype(np.float64) / np.sqrt(self.var(state) + np.float64(self.epsilon))
        return factor


@dataclasses.dataclass(frozen=True)
class ScaledWeight:
    """A layer's weight with the batch norm behind it multiplied in."""

    weight: Recipe
    norm: BatchNorm
    axis: int

    def __call__(self, state: State) -> Array:
        """See ``Recipe``."""
        weight = self.weight(state)
        along = [1] * weight.ndim
        along[self.axis] = -1
        return np.asarray(weight * self.norm.scale(state).astype(weight.dtype).reshape(along))


@dataclasses.dataclass(frozen=True)
class ShiftedBias:
    """A layer's bias with the batch norm behind it worked in; the layer may have none."""

    bias: Recipe | None
    norm: BatchNorm

    def __call__(self, state: State) -> Array:
        """See ``Recipe``."""
        mean, shift = self.norm.mean(state), self.norm.shift(state)
        bias = 0.0 if self.bias is None else self.bias(state)
        return np.asarray((bias - mean.astype(np.float64)) * self.norm.scale(state) + shift).astype(mean.dtype)


def recipes(model: Any, weights: Collection[str], fold: bool) -> dict[str, Recipe]:
    """Return a recipe for every initializer of a model.

    Args:
        model: An ``onnx_ir.Model``; its weights are initializers without values.
        weights: Their names, which are those in the state.
        fold: Whether to fold what depends on weights alone, in place.
    """
    found: dict[str, Recipe] = {
        name: Plain(name) if name in weights else Constant(value.const_value)
        for name, value in model.graph.initializers.items()
    }
    return _folded(model.graph, found) if fold else found


def _folded(graph: Any, recipes: dict[str, Recipe]) -> dict[str, Recipe]:
    for node in list(graph):
        if node.domain == "" and node.op_type == "Transpose":
            _fold_transpose(graph, node, recipes)
    for node in list(graph):
        if node.domain == "" and node.op_type == "BatchNormalization":
            _fold_batch_norm(graph, node, recipes)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
    return {name: recipes[name] for name in graph.initializers}


def _fold_transpose(graph: Any, node: Any, recipes: dict[str, Recipe]) -> None:
    """``Transpose(weight)``, which every linear layer without bias has."""
    import onnx_ir as ir

    source = node.inputs[0]
    if not _is_weight(source, recipes) or node.outputs[0].is_graph_output() or "perm" not in node.attributes:
        return
    perm = tuple(node.attributes["perm"].as_ints())
    name = f"{source.name}_transposed"
    recipe = Transposed(recipes[source.name], perm)
    shape = None if source.shape is None else ir.Shape([source.shape[d] for d in perm])
    _replace(graph, node, _initializer(graph, name, recipe, recipes, source.dtype, shape))


def _fold_batch_norm(graph: Any, node: Any, recipes: dict[str, Recipe]) -> None:
    """A layer with fixed weights and a batch norm behind it are one layer."""
    import onnx_ir as ir

    hidden = node.inputs[0]
    layer = hidden.producer()
    if layer is None or len(hidden.uses()) > 1 or hidden.is_graph_output() or layer.graph is not node.graph:
        return
    axis = _channel_axis(layer)
    if axis is None:
        return
    weight, *rest = layer.inputs[1:]
    bias = rest[0] if rest else None
    parts = [weight, *node.inputs[1:], *([bias] if bias is not None else [])]
    if not all(_is_weight(part, recipes) for part in parts) or len(weight.uses()) > 1:
        return
    if any(len(o.uses()) or o.is_graph_output() for o in node.outputs[1:]):
        return
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    scale, shift, mean, var = (recipes[v.name] for v in node.inputs[1:5])
    norm = BatchNorm(scale, shift, mean, var, epsilon)
    recipes[weight.name] = ScaledWeight(recipes[weight.name], norm, axis)
    shifted = ShiftedBias(None if bias is None else recipes[bias.name], norm)
    name = weight.name.removesuffix("weight") + "bias"
    if bias is not None:
        name = bias.name if len(bias.uses()) == 1 else f"{bias.name}_folded"
    shape = ir.Shape(node.inputs[1].shape) if node.inputs[1].shape is not None else None
    value = _initializer(graph, name, shifted, recipes, weight.dtype, shape)
    layer.resize_inputs(3)
    layer.replace_input_with(2, value)
    _replace(graph, node, layer.outputs[0])


def _channel_axis(layer: Any) -> int | None:
    """The dim of the weight that holds a layer's output channels; None where a norm cannot be folded."""
    if layer.domain != "":
        return None
    attributes = layer.attributes
    if layer.op_type == "Conv":
        return 0
    if layer.op_type == "ConvTranspose":
        return 1 if "group" not in attributes or attributes["group"].as_int() == 1 else None
    if layer.op_type == "Gemm" and all(a not in attributes or attributes[a].as_float() == 1 for a in ("alpha", "beta")):
        return 0 if "transB" in attributes and attributes["transB"].as_int() else 1
    return None


def _is_weight(value: Any, recipes: Mapping[str, Recipe]) -> bool:
    return value is not None and value.is_initializer() and value.name in recipes


def _initializer(graph: Any, name: str, recipe: Recipe, recipes: dict[str, Recipe], dtype: Any, shape: Any) -> Any:
    """Give an initializer a recipe; of a name that is there already, its place is taken."""
    import onnx_ir as ir

    recipes[name] = recipe
    if name in graph.initializers:
        value = graph.initializers[name]
        value.shape = shape
        return value
    value = ir.Value(name=name, type=ir.TensorType(dtype), shape=shape)
    graph.initializers[name] = value
    return value


def _replace(graph: Any, node: Any, value: Any) -> None:
    """Let ``value`` take the place of a node's output, and remove the node."""
    import onnx_ir as ir

    output = node.outputs[0]
    value.shape = value.shape if output.shape is None else output.shape
    for index, found in enumerate(graph.outputs):
        if found is output:
            graph.outputs[index] = value
    ir.convenience.replace_all_uses_with(output, value)
    graph.remove(node, safe=True)
