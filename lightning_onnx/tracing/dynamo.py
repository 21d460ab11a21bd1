"""TODO."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import torch

from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.weights.state import state
from lightning_onnx.onnxfile import recipes
from lightning_onnx.onnxfile.recipes import Recipe
from lightning_onnx.tracing.base import EngineModel, Traced, torch_options, tracing
from lightning_onnx.tracing.captures.autograd import Differentiated
from lightning_onnx.tracing.captures.base import capture
from lightning_onnx.tracing.captures.by_values import forget_values
from lightning_onnx.tracing.captures.precomputed import Lowered
from lightning_onnx.tracing.dims import dims_of, where_fixed
from lightning_onnx.tracing.inner.replay import Program
from lightning_onnx.tracing.patches.by_values import by_values
from lightning_onnx.tracing.rules import size_arithmetic, table

Capture = Literal["export", "exporter", "strict", "values", "numbers", "lowered", "derivatives"]


class DynamoEngine:
    """``torch.onnx.export(dynamo=True)``, traced once; new weights are put into a clone of the untouched graph.

    Args:
        capture: ``"export"`` captures with ``torch.export.export`` first, which keeps LSTM and GRU as one operator.
            ``"exporter"`` leaves it to the exporter, which unrolls them into loops, but assumes less of sizes 0 and 1
            and tries harder. ``"strict"`` reads the module's bytecode, and so follows ``int`` and ``float`` of a size,
            which else fix it. ``"values"`` is strict and decides by the traced values where torch cannot know, and
            ``"numbers"`` does that without reading bytecode, see ``lightning_onnx.tracing.patches.integers``. ``"lowered"`` runs the
            captured program anew, see ``lightning_onnx.tracing.captures.precomputed``, ``"derivatives"`` a trace below autograd, see
            ``lightning_onnx.tracing.captures.autograd``.
    """

    name = "dynamo"

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.decides = capture in ("values", "numbers")

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        """See ``Engine.trace``."""
        dynamic = (tuple(dict.fromkeys(axes, torch.export.Dim.AUTO) for axes in request.axes),)
        values: Callable[[FlatModule], dict[str, torch.Tensor]] = state
        with tracing(self.name):
            if self.capture != "exporter":
                source = Differentiated(module, request.tensors) if self.capture == "derivatives" else module
                with by_values(self.capture == "numbers") if self.decides else contextlib.nullcontext():
                    strict = self.capture in ("strict", "values")
                    captured = capture(source, request.tensors, dynamic, strict)
                if self.decides:
                    forget_values(captured)
                if self.capture == "lowered":
                    runs = Lowered(module, captured.run_decompositions())
                    captured, values = capture(runs, request.tensors, dynamic), runs.values
                call: dict[str, Any] = {"model": table.for_every_size(captured)}
            else:
                call = {"model": module, "args": request.tensors, "dynamic_shapes": dynamic}
            further = torch_options(options)
            further["custom_translation_table"] = size_arithmetic.translations() | (
                further.get("custom_translation_table") or {}
            )
            program = torch.onnx.export(
                **call, dynamo=True, opset_version=opset_version, optimize=False, verbose=False, **further
            )
        assert program is not None
        assert program.exported_program is not None
        written = program.model.graph.opset_imports.get("")
        if written != opset_version:
            raise EngineError(f"engine 'dynamo' wrote opset {written} where {opset_version} was asked for")
        symbols, fixed, relations, unused = dims_of(program.exported_program, request)
        if fixed:
            found = where_fixed(module, request, dynamic)
            fixed = [dataclasses.replace(f, where=found.get(f.dim)) for f in fixed]

        with tracing(self.name):
            weights = values(module)
            made = EngineModel(*_optimized(program, weights, fold=options.get("export_params", True)))
            replayed = Program.of(program.exported_program, weights)
        return Traced(self.name, made, None, values, symbols, tuple(fixed), tuple(relations), tuple(unused), replayed)


def _optimized(program: torch.onnx.ONNXProgram, weights: Collection[str], fold: bool) -> tuple[Any, dict[str, Recipe]]:
    """Optimize a graph for all weights at once: they are inputs while torch's optimizer looks at it."""
    graph = program.model.graph
    values = {name: graph.initializers.pop(name) for name in list(graph.initializers) if name in weights}
    for value in values.values():
        value.const_value = None
        graph.inputs.append(value)
    program.optimize()
    for name, value in values.items():
        graph.inputs.remove(value)
        graph.initializers[name] = value
    return program.model, recipes.recipes(program.model, values, fold)
