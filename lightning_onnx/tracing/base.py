"""TODO."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch

from lightning_onnx.errors import EngineError, chain, first_line
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.weights.state import state
from lightning_onnx.onnxfile.recipes import Recipe
from lightning_onnx.tracing.inner.replay import Program
from lightning_onnx.tracing.patches.quiet import quiet
from lightning_onnx.tracing.patches.traceable import traceable


@dataclasses.dataclass(frozen=True)
class ConstantDim:
    """A dim that was asked to be dynamic and that the module's code makes constant.

    Attributes:
        dim: Its name.
        size: The constant.
        where: File name and line that fixed it, where it was found.
    """

    dim: str
    size: int
    where: str | None = None


@dataclasses.dataclass(frozen=True)
class EngineModel:
    """A model of an engine, before names are given.

    Attributes:
        model: An ``onnx_ir.Model``.
        recipes: How the values of each initializer are made, by name.
    """

    model: Any
    recipes: Mapping[str, Recipe]


@dataclasses.dataclass(frozen=True)
class Traced:
    """What an engine returns: a source of ONNX models with given weights, and what it found out about the dims.

    Attributes:
        engine: Name of the engine.
        first: The model made by tracing.
        model: Makes a model for other weights of a module of the same structure; None where ``first`` serves all
            weights, by its recipes.
        values: Gives the weights that the recipes name, those that are computed of others included.
        symbols: The engine's own symbols by the names of the dims that they stand for.
        fixed: Dims that came out constant.
        relations: What the sizes must keep, for people.
        unused: Places of inputs that the graph does not use.
        program: What was translated, to be run again where the file is wrong; None where it cannot be.
    """

    engine: str
    first: EngineModel
    model: Callable[[FlatModule], EngineModel] | None = None
    values: Callable[[FlatModule], Mapping[str, torch.Tensor]] = state
    symbols: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fixed: tuple[ConstantDim, ...] = ()
    relations: tuple[str, ...] = ()
    unused: tuple[int, ...] = ()
    program: Program | None = None


class Engine(Protocol):
    """A way from torch to ONNX."""

    name: str
    decides: bool
    """Whether the traced values decide where the method does so by values; only for methods that no other takes."""

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


_OURS = ("export_params", "keep_initializers_as_inputs")
"""Options that the graph carries out, the same for both engines; torch's engines differ in what they make of them."""


def torch_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _OURS}


@contextlib.contextmanager
def tracing(engine: str) -> Iterator[None]:
    """All that an exporter runs under."""
    with quiet(), _named(engine), traceable(), torch.no_grad():
        yield


@contextlib.contextmanager
def _named(engine: str) -> Iterator[None]:
    """Turn whatever torch raises into an EngineError that names the innermost cause."""
    try:
        yield
    except Exception as error:
        innermost = chain(error)[-1]
        raise EngineError(f"engine '{engine}': {first_line(innermost)}") from error
