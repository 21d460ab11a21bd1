"""How each initializer is computed from the module's weights: as it is, transposed, or with a BatchNorm folded in.

A graph is optimized once, without the values of its weights: an optimizer that sees values merges parameters that
happen to be equal, and the graph is then wrong for the next weights. Whatever depends on values is kept as a recipe,
which is computed again for each set of weights.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import WeightsError

if TYPE_CHECKING:
    import onnx_ir as ir

Array = NDArray[Any]
State = Mapping[str, Array]


class Recipe(Protocol):
    """Computes one initializer from a module's state."""

    def __call__(self, state: State) -> Array:
        """Return the initializer's values.

        Args:
            state: All parameters and buffers by name.
        """

    def like(self, state: State) -> Array:
        """Return an array of the same shape and dtype, without computing values."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """Values that do not depend on the weights."""

    values: ir.TensorProtocol

    def __call__(self, state: State) -> Array:
        """See ``Recipe``."""
        return np.asarray(self.values.numpy())

    def like(self, state: State) -> Array:
        """See ``Recipe``."""
        return self(state)


@dataclasses.dataclass(frozen=True)
class Plain:
    """A parameter or buffer, unchanged."""

    name: str

    def __call__(self, state: State) -> Array:
        """See ``Recipe``.

        Raises:
            WeightsError: If the state has no such values.
        """
        if self.name not in state:
            raise WeightsError(
                f"the weight {self.name!r} has no values of its own: the class of the tensor keeps them in others. "
                "Convert it to a plain tensor."
            )
        return state[self.name]

    def like(self, state: State) -> Array:
        """See ``Recipe``."""
        return self(state)


@dataclasses.dataclass(frozen=True)
class Transposed:
    """A parameter with its dims in another order."""

    source: Recipe
    perm: tuple[int, ...]

    def __call__(self, state: State) -> Array:
        """See ``Recipe``."""
        return self.source(state).transpose(self.perm)

    def like(self, state: State) -> Array:
        """See ``Recipe``."""
        return self.source.like(state).transpose(self.perm)


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """A BatchNorm in eval mode: ``y = (x - mean) * scale + shift`` with ``scale = weight / sqrt(var + epsilon)``."""

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
    """A layer's weight, multiplied by the scale of the BatchNorm that follows the layer."""

    weight: Recipe
    norm: BatchNorm
    axis: int

    def __call__(self, state: State) -> Array:
        """See ``Recipe``."""
        weight = self.weight(state)
        along = [1] * weight.ndim
        along[self.axis] = -1
        return np.asarray(weight * self.norm.scale(state).astype(weight.dtype).reshape(along))

    def like(self, state: State) -> Array:
        """See ``Recipe``."""
        return self.weight.like(state)


@dataclasses.dataclass(frozen=True)
class ShiftedBias:
    """A layer's bias with the BatchNorm that follows the layer folded in; without a bias, as if it were 0."""

    bias: Recipe | None
    norm: BatchNorm

    def __call__(self, state: State) -> Array:
        """See ``Recipe``."""
        mean, shift = self.norm.mean(state), self.norm.shift(state)
        bias = 0.0 if self.bias is None else self.bias(state)
        return np.asarray((bias - mean.astype(np.float64)) * self.norm.scale(state) + shift).astype(mean.dtype)

    def like(self, state: State) -> Array:
        """See ``Recipe``."""
        return self.norm.mean.like(state)


def recipes(model: ir.Model, weights: Collection[str], fold: bool) -> dict[str, Recipe]:
    """Return a recipe for each initializer of a model, by the initializer's name.

    Args:
        model: Its weights are initializers without values.
        weights: Names of the weights, in the model and in the state.
        fold: Whether to fold what is computed from weights only; changes the model.
    """
    found: dict[str, Recipe] = {
        name: Plain(name) if name in weights or value.const_value is None else Constant(value.const_value)
        for name, value in model.graph.initializers.items()
    }
    return _Folder(model.graph, found).fold() if fold else found


class _Folder:
    """Removes nodes that compute with weights only, and puts what they compute into the recipes."""

    def __init__(self, graph: ir.Graph, recipes: Mapping[str, Recipe]) -> None:
        self.graph = graph
        self.recipes = dict(recipes)

    def fold(self) -> dict[str, Recipe]:
        for op_type, folded in (("Transpose", self._transpose), ("BatchNormalization", self._batch_norm)):
            for node in list(self.graph):
                if node.domain == "" and node.op_type == op_type:
                    folded(node)
        for name, value in list(self.graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del self.graph.initializers[name]
        return {name: self.recipes[name] for name in self.graph.initializers}

    def _transpose(self, node: ir.Node) -> None:
        """Fold ``Transpose(weight)``, which every linear layer without bias has."""
        import onnx_ir as ir

        source = node.inputs[0]
        recipe = self._recipe(source)
        if source is None or recipe is None or node.outputs[0].is_graph_output() or "perm" not in node.attributes:
            return
        perm = tuple(node.attributes["perm"].as_ints())
        if source.shape is not None and len(source.shape) != len(perm):
            return  # no runtime loads such a node; the engine's check of the file says so
        shape = None if source.shape is None else ir.Shape([source.shape[d] for d in perm])
        made = self._initializer(f"{source.name}_transposed", Transposed(recipe, perm), source.type, shape)
        self._replace(node, made)

    def _batch_norm(self, node: ir.Node) -> None:
        """Fold a BatchNorm into the layer before it."""
        import onnx_ir as ir

        layer = self._layer_before(node)
        axis = None if layer is None else _channel_axis(layer)
        norm = self._norm(node)
        if layer is None or axis is None or norm is None:
            return
        weight, bias = layer.inputs[1], layer.inputs[2] if len(layer.inputs) > 2 else None
        weight_recipe, bias_recipe = self._recipe(weight), self._recipe(bias)
        if weight is None or weight_recipe is None or (bias is not None and bias_recipe is None):
            return
        if len(weight.uses()) > 1:
            return
        self.recipes[str(weight.name)] = ScaledWeight(weight_recipe, norm, axis)
        channels = node.inputs[1].shape if node.inputs[1] is not None else None
        shape = None if channels is None else ir.Shape(channels)
        recipe = ShiftedBias(bias_recipe, norm)
        if bias is not None and len(bias.uses()) == 1:
            self.recipes[str(bias.name)], bias.shape, shifted = recipe, shape, bias
        else:
            name = f"{bias.name}_folded" if bias is not None else str(weight.name).removesuffix("weight") + "bias"
            shifted = self._initializer(name, recipe, weight.type, shape)
        layer.resize_inputs(3)
        layer.replace_input_with(2, shifted)
        self._replace(node, layer.outputs[0])

    def _layer_before(self, node: ir.Node) -> ir.Node | None:
        """Return the node whose output only this one reads."""
        hidden = node.inputs[0]
        if hidden is None or len(hidden.uses()) > 1 or hidden.is_graph_output():
            return None
        layer = hidden.producer()
        return layer if layer is not None and layer.graph is node.graph else None

    def _norm(self, node: ir.Node) -> BatchNorm | None:
        """Return the recipes of a BatchNorm; None if it is computed from more than weights, or trains."""
        parts = [recipe for value in node.inputs[1:] if (recipe := self._recipe(value)) is not None]
        if len(parts) != 4 or any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
            return None
        epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
        weight, shift, mean, var = parts
        return BatchNorm(weight, shift, mean, var, epsilon)

    def _recipe(self, value: ir.Value | None) -> Recipe | None:
        """Return the recipe of an initializer; None for any other value."""
        return self.recipes.get(str(value.name)) if value is not None and value.is_initializer() else None

    def _initializer(self, name: str, recipe: Recipe, type: ir.TypeProtocol | None, shape: ir.Shape | None) -> ir.Value:
        """Add an initializer with a recipe. If the name is taken by other values, it gets a number."""
        import onnx_ir as ir

        names = (name if number == 0 else f"{name}_{number}" for number in itertools.count())
        name = next(n for n in names if n not in self.graph.initializers or self.recipes[n] == recipe)
        if name not in self.graph.initializers:
            self.recipes[name] = recipe
            self.graph.initializers[name] = ir.Value(name=name, type=type, shape=shape)
        return self.graph.initializers[name]

    def _replace(self, node: ir.Node, value: ir.Value) -> None:
        """Replace a node's output by ``value`` everywhere, and remove the node."""
        import onnx_ir as ir

        output = node.outputs[0]
        value.shape = value.shape if output.shape is None else output.shape
        for index, found in enumerate(self.graph.outputs):
            if found is output:
                self.graph.outputs[index] = value
        ir.convenience.replace_all_uses_with(output, value)
        self.graph.remove(node, safe=True)


def _channel_axis(layer: ir.Node) -> int | None:
    """Return the weight's dim of the output channels; None if no BatchNorm can be folded into the layer."""
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
