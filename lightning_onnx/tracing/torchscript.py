"""TODO."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lightning_onnx.errors import EngineError
from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.onnxfile import recipes
from lightning_onnx.tracing.base import EngineModel, Traced, torch_options, tracing


class TorchScriptEngine:
    """``torch.onnx.export(dynamo=False)``: lower opsets and some modules that the other engine cannot translate.

    It merges parameters that are equal and has no graph to refresh, so each model is exported anew.
    """

    name = "torchscript"
    decides = False  # it does, and takes all methods

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        """See ``Engine.trace``."""
        import onnx_ir as ir

        def model(weights: FlatModule) -> EngineModel:
            with tempfile.TemporaryDirectory() as directory, tracing(self.name):
                path = Path(directory) / "model.onnx"
                torch.onnx.export(
                    weights,
                    request.tensors,
                    str(path),
                    dynamo=False,
                    opset_version=opset_version,
                    input_names=list(request.input_names),
                    output_names=list(request.output_names),
                    dynamic_axes={n: dict(a) for n, a in zip(request.input_names, request.axes, strict=True) if a},
                    **torch_options(options),
                )
                made = _all_inputs(ir.external_data.load_to_model(ir.load(path)), request)
            constants = {name: recipes.Constant(v.const_value) for name, v in made.graph.initializers.items()}
            return EngineModel(made, constants)

        first = model(module)
        written = first.model.graph.opset_imports.get("")
        if written != opset_version:
            raise EngineError(f"engine 'torchscript' wrote opset {written} where {opset_version} was asked for")
        names = {value.name: value for value in first.model.graph.inputs}
        unused = [i for i, n in enumerate(request.input_names) if not names[n].uses()]
        return Traced(self.name, first, model, unused=tuple(unused))


def _all_inputs(model: Any, request: Request) -> Any:
    """Put back the inputs that the TorchScript based exporter leaves out because nothing depends on them."""
    import onnx_ir as ir

    known = {value.name: value for value in model.graph.inputs}
    model.graph.inputs.clear()
    for name, tensor in zip(request.input_names, request.tensors, strict=True):
        type_ = ir.TensorType(ir.DataType.from_numpy(to_numpy(tensor).dtype))
        model.graph.inputs.append(known.get(name) or ir.Value(name=name, type=type_))
    return model
