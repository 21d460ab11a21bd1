"""The TorchScript based engine: lower opsets, and some modules that the other engine cannot translate."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.tracing_thread import hearing_warnings
from lightning_onnx.module.user_code import is_users, location
from lightning_onnx.onnxfile.recipes import Constant
from lightning_onnx.tracing.base import EngineModel, Traced, check_opset, torch_options, tracing
from lightning_onnx.tracing.inner.boundaries import Boundaries
from lightning_onnx.tracing.patches.table import patched
from lightning_onnx.tracing.sequence_lengths import restore_lengths
from lightning_onnx.tracing.symbolic_run import conditions_in_run

if TYPE_CHECKING:
    import onnx_ir as ir


class TorchScriptEngine:
    """``torch.onnx.export(dynamo=False)``; it merges equal parameters, so each set of weights is traced anew."""

    name = "torchscript"
    follows_values = True
    needs_refusal = False

    def __str__(self) -> str:
        return f"engine '{self.name}'"

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        """See ``Engine.trace``."""

        def traced_with(weights: FlatModule) -> EngineModel:
            return _trace(weights, request, opset_version, options)[0]

        first, kept = _trace(module, request, opset_version, options)
        check_opset(self.name, first.model, opset_version)
        inputs = {value.name: value for value in first.model.graph.inputs}
        unused = tuple(i for i, name in enumerate(request.input_names) if not inputs[name].uses())
        with tracing(self.name), module.call_state.kept_in_trace(tensors=True):
            conditions = conditions_in_run(module, request)
        return Traced(
            self.name,
            first,
            traced_with,
            conditions=conditions,
            unused_inputs=unused,
            kept=kept,
            inner_values=Boundaries,
        )


def _trace(
    module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]
) -> tuple[EngineModel, tuple[str, ...]]:
    """Return the model, and the lines at which it keeps a value of the traced call."""
    import onnx_ir as ir

    with (
        tempfile.TemporaryDirectory() as directory,
        tracing(TorchScriptEngine.name),
        patched("torchscript"),
        _conversions() as kept,
        module.call_state.kept_in_trace(tensors=True),
    ):
        path = Path(directory) / "model.onnx"
        torch.onnx.export(
            module,
            request.tensors,
            str(path),
            dynamo=False,
            opset_version=opset_version,
            input_names=list(request.input_names),
            output_names=list(request.output_names),
            dynamic_axes={n: dict(a) for n, a in zip(request.input_names, request.axes, strict=True) if a},
            **torch_options(options),
        )
        model = ir.external_data.load_to_model(ir.load(path))
        _restore_unused_inputs(model, request)
        restore_lengths(model)
    stored = {name: value.const_value for name, value in model.graph.initializers.items()}
    constants = {name: Constant(values) for name, values in stored.items() if values is not None}  # a file has all
    return EngineModel(model, constants), tuple(dict.fromkeys(kept))


@contextlib.contextmanager
def _conversions() -> Iterator[list[str]]:
    """Collect ``file:line`` where torch warns that a tensor becomes a Python value, which the graph keeps."""
    lines: list[str] = []

    def listen(text: str, frame: FrameType) -> None:
        if text.startswith("Converting a tensor to a") and is_users(frame.f_code.co_filename):
            lines.append(location(frame.f_code.co_filename, frame.f_lineno))

    with hearing_warnings(listen):
        yield lines


def _restore_unused_inputs(model: ir.Model, request: Request) -> None:
    """Put back the inputs that this exporter leaves out because nothing depends on them."""
    import onnx_ir as ir

    known = {value.name: value for value in model.graph.inputs}
    model.graph.inputs.clear()
    for name, tensor in zip(request.input_names, request.tensors, strict=True):
        type_ = ir.TensorType(ir.DataType.from_numpy(to_numpy(tensor).dtype))
        model.graph.inputs.append(known.get(name) or ir.Value(name=name, type=type_))
