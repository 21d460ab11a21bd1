"""What an engine is, what it returns, and the context in which all engines trace."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch

from lightning_onnx.errors import EngineError, chain, first_line
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.inner_values import InnerValues
from lightning_onnx.module.weights.state import state
from lightning_onnx.onnxfile.recipes import Recipe
from lightning_onnx.tracing.captures.base import Weights
from lightning_onnx.tracing.conditions import SizeCondition
from lightning_onnx.tracing.patches.table import patched
from lightning_onnx.tracing.program import SavedProgram

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclasses.dataclass(frozen=True)
class ConstantDim:
    """A dim that was asked to be dynamic and that the module's code makes constant.

    Attributes:
        dim: Its name.
        size: The constant.
        where: File name and line that make it constant; None if they are unknown.
    """

    dim: str
    size: int
    where: str | None = None


@dataclasses.dataclass(frozen=True)
class AssumedRange:
    """Sizes that an engine assumed a dim to have: a hint at a limit, which trying confirms or not.

    Attributes:
        dim: Its name.
        min: The smallest; None where nothing but the usual 0 or 2 was assumed.
        max: The largest; None where there is none.
    """

    dim: str
    min: int | None = None
    max: int | None = None


@dataclasses.dataclass(frozen=True)
class EngineModel:
    """A model as an engine writes it, before inputs, outputs and dims get their names.

    Attributes:
        model: The model; its weights are initializers.
        recipes: How the values of each initializer are computed, by name.
    """

    model: ir.Model
    recipes: Mapping[str, Recipe]


@dataclasses.dataclass(frozen=True)
class Traced:
    """What an engine returns: a model, how to get it with other weights, and what is known about its dims.

    Attributes:
        engine: Name of the engine.
        first: The model with the weights of the trace.
        trace_again: Makes the model for another module of the same structure; None if ``first`` serves all weights,
            by its recipes.
        weights: Returns a module's weights by the names that the recipes use, computed ones included.
        symbols: The dims' names by the engine's own symbols for them.
        constant_dims: Dims that were asked to be dynamic and are constant.
        assumed_ranges: What the engine assumed about sizes of other dims.
        conditions: What the engine assumed about sizes, which decides what the method does.
        relations: Conditions on the sizes, as readable sentences.
        unused_inputs: Indices of the inputs that the graph does not use.
        kept: ``file:line`` of each known decision by values that the graph keeps from the traced call.
        inner_values: Returns what finds the inner values of a module of the same structure; None if nothing does.
        program: The captured program, if the engine was asked to keep it and the graph was made from one.
    """

    engine: str
    first: EngineModel
    trace_again: Callable[[FlatModule], EngineModel] | None = None
    weights: Weights = state
    symbols: Mapping[str, str] = dataclasses.field(default_factory=dict)
    constant_dims: tuple[ConstantDim, ...] = ()
    assumed_ranges: tuple[AssumedRange, ...] = ()
    conditions: tuple[SizeCondition, ...] = ()
    relations: tuple[str, ...] = ()
    unused_inputs: tuple[int, ...] = ()
    kept: tuple[str, ...] = ()
    inner_values: Callable[[FlatModule], InnerValues] | None = None
    program: SavedProgram | None = None


class Engine(Protocol):
    """A way from torch to ONNX."""

    @property
    def name(self) -> str:
        """Name of the engine; several ways of one engine share it."""

    @property
    def follows_values(self) -> bool:
        """Whether its graphs may keep the branches that the traced values took."""

    @property
    def needs_refusal(self) -> bool:
        """Whether to try it only after another one has refused a module that decides by values of its tensors."""

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        """Trace a module.

        Args:
            module: A private copy with its weights.
            request: Names, traced tensors and dynamic dims.
            opset_version: The opset that the model must have.
            options: Further keywords of ``torch.onnx.export``.

        Raises:
            EngineError: If the engine cannot translate the module, or not at this opset; torch's error is its cause.
        """


class Wrapper:
    """Base class of engines that trace by another one.

    Args:
        engine: The other one.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def name(self) -> str:
        """See ``Engine.name``."""
        return self.engine.name

    @property
    def follows_values(self) -> bool:
        """See ``Engine.follows_values``."""
        return self.engine.follows_values


_APPLIED_BY_GRAPH = ("export_params", "keep_initializers_as_inputs")
"""Options that ``Graph`` applies in the same way for both engines, because torch's exporters differ in them."""


def torch_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that go to ``torch.onnx.export``."""
    return {name: value for name, value in options.items() if name not in _APPLIED_BY_GRAPH}


@contextlib.contextmanager
def tracing(engine: str) -> Iterator[None]:
    """The context in which an exporter runs: quiet, patched, without gradients, and with errors that name the engine.

    Raises:
        EngineError: If torch raises anything; the message names the innermost cause.
    """
    with _engine_errors(engine), patched("quiet", "trace"), torch.no_grad():
        yield


@contextlib.contextmanager
def _engine_errors(engine: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        innermost = chain(error)[-1]
        raise EngineError(f"engine '{engine}': {first_line(innermost)}") from error


def check_opset(engine: str, model: ir.Model, opset_version: int) -> None:
    """Compare a model's opset with the one asked for.

    Raises:
        EngineError: If they differ.
    """
    written = model.graph.opset_imports.get("")
    if written != opset_version:
        raise EngineError(f"engine '{engine}' wrote opset {written} where {opset_version} was asked for")
