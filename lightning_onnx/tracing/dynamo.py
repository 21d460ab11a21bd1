"""The torch.export based engine."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any

import torch

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.onnxfile import recipes
from lightning_onnx.tracing.base import EngineModel, Traced, check_opset, torch_options, tracing
from lightning_onnx.tracing.captures.base import Capture, Captured, DynamicShapes, dynamic_shapes_of
from lightning_onnx.tracing.constant_dims import find_lines
from lightning_onnx.tracing.dims import ProgramDims, dims_of
from lightning_onnx.tracing.inner.replay import Program, Replay
from lightning_onnx.tracing.optimization import optimized
from lightning_onnx.tracing.outputs import separate_outputs
from lightning_onnx.tracing.program import SavedProgram
from lightning_onnx.tracing.rules import table


class DynamoEngine:
    """``torch.onnx.export(dynamo=True)``, traced once; new weights are written into the same graph.

    Args:
        capture: How the module is captured.
        keeps_program: Whether the captured program is kept, with its metadata, to be saved.
    """

    name = "dynamo"

    def __init__(self, capture: Capture, *, keeps_program: bool = False) -> None:
        self.capture = capture
        self.keeps_program = keeps_program

    def __str__(self) -> str:
        return f"engine '{self.name}' ({type(self.capture).__name__})"

    @property
    def follows_values(self) -> bool:
        """See ``Engine.follows_values``."""
        return self.capture.follows_values

    @property
    def needs_refusal(self) -> bool:
        """See ``Engine.needs_refusal``: a capture that follows no values makes a graph that holds for all of them."""
        return self.capture.follows_values

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        """See ``Engine.trace``."""
        shapes = dynamic_shapes_of(request.axes)
        with tracing(self.name), module.call_state.kept_in_trace(tensors=True):
            captured = self.capture.capture(module, request.tensors, shapes)
            translated = _translate(captured, module, request, shapes, opset_version, options)
        assert translated.exported_program is not None
        check_opset(self.name, translated.model, opset_version)
        dims = _with_lines(dims_of(translated.exported_program, request), module, request, shapes)
        with tracing(self.name):
            weights = captured.weights(module)
            first = _optimize(translated, weights, fold=options.get("export_params", True))
            program = Program.of(translated.exported_program, weights)
            saved = None
            if self.keeps_program:
                saved = SavedProgram.of(captured.program or translated.exported_program, captured.weights, weights)
        return Traced(
            self.name,
            first,
            weights=captured.weights,
            symbols=dims.symbols,
            constant_dims=dims.constant,
            assumed_ranges=dims.ranges,
            conditions=dims.conditions,
            relations=dims.relations,
            unused_inputs=dims.unused_inputs,
            kept=captured.kept,
            inner_values=None if program is None else functools.partial(Replay, program, captured.weights),
            program=saved,
        )


def _translate(
    captured: Captured,
    module: FlatModule,
    request: Request,
    shapes: DynamicShapes,
    opset_version: int,
    options: Mapping[str, Any],
) -> torch.onnx.ONNXProgram:
    further = torch_options(options)
    translations = table.translations() | (further.pop("custom_translation_table", None) or {})
    model: torch.nn.Module | torch.export.ExportedProgram = module
    to_capture: dict[str, Any] = {"args": request.tensors, "dynamic_shapes": shapes}
    if captured.program is not None:
        model, to_capture = captured.program, {}
    translated = torch.onnx.export(
        model,
        **to_capture,
        dynamo=True,
        opset_version=opset_version,
        optimize=False,
        verbose=False,
        custom_translation_table=translations,
        **further,
    )
    assert translated is not None
    return translated


def _with_lines(dims: ProgramDims, module: FlatModule, request: Request, shapes: DynamicShapes) -> ProgramDims:
    """Add to each constant dim the line of code that makes it constant."""
    if not dims.constant:
        return dims
    lines = find_lines(module, request, shapes)
    constant = tuple(dataclasses.replace(dim, where=lines.get(dim.dim)) for dim in dims.constant)
    return dataclasses.replace(dims, constant=constant)


def _optimize(program: torch.onnx.ONNXProgram, weights: Collection[str], fold: bool) -> EngineModel:
    """Optimize a graph once for all weights: they are inputs meanwhile."""
    graph = program.model.graph
    names = [name for name in graph.initializers if name in weights]
    for name in names:
        value = graph.initializers.pop(name)
        value.const_value = None
        graph.inputs.append(value)
    separate_outputs(graph)  # the optimizer gives an input that is an output another name
    model = optimized(program.model)
    inputs = {value.name: value for value in model.graph.inputs}
    for name in names:
        model.graph.inputs.remove(inputs[name])
        model.graph.initializers[name] = inputs[name]
    return EngineModel(model, recipes.recipes(model, names, fold))
