"""Floats of half the size: weights and what is computed, inputs and outputs apart."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.onnxfile import walk
from lightning_onnx.runtimes.base import Arrays
from lightning_onnx.variants import base, files
from lightning_onnx.variants.base import Making

_LARGEST = 1e4
"""To which the converter cuts weights and constants that are larger: what masks are made of."""

_MOST = 5
"""Names in a sentence."""


@dataclasses.dataclass(frozen=True)
class Float16:
    """A model of half the size that computes in float16, made by ``onnxconverter_common``; inputs and outputs stay.

    Made for GPUs: on CPUs without float16 arithmetic it is as fast as float32. Values beyond ±65504 become infinite
    in it, which fails it.

    Args:
        keep_float32: Operators that stay in float32, such as ``"ReduceMean"`` where sums leave the range of float16;
            beside those that the converter always leaves.
        max_difference: What outputs may differ by, as a share of their scale.
        max_metric_drop: By how much a metric may get worse: absolute, and for losses as a share.
        metric: The metric that decides; default: all that are logged in validation but losses, else these.
        name: Its file is ``model.<name>.onnx``.

    Example:
        >>> Float16(keep_float32=("Softmax",)).name
        'fp16'
    """

    keep_float32: Sequence[str] = ()
    max_difference: float = 1e-2
    max_metric_drop: float = 0.01
    metric: str | None = None
    name: str = "fp16"
    needs_validation: bool = dataclasses.field(default=True, init=False)

    def __post_init__(self) -> None:
        """Check the options."""
        base.check_options(self)
        if isinstance(self.keep_float32, str):
            raise ConfigurationError(
                f"Float16(keep_float32={self.keep_float32!r}) is one string. Give a tuple such as ('Softmax',)."
            )

    def make(self, making: Making, destination: Path) -> list[str]:
        """Convert."""
        base.need("onnxconverter_common")
        paths = (str(making.model_path), str(destination))
        notes: list[str] = making.call(f"{__name__}:convert", *paths, list(self.keep_float32))
        feeds, _ = making.feeds(1)
        found = making.call(f"{__name__}:overflowing", *paths, feeds)
        if found:
            kinds = ", ".join(map(repr, dict.fromkeys(kind for _, kind in found)))
            raise ValueError(
                f"values leave the range of float16 (±65504) in {[name for name, _ in found[:_MOST]]}; operators can "
                f"be kept in float32: Float16(keep_float32=({kinds},))"
            )
        return notes


def convert(model_path: str, destination: str, keep_float32: Sequence[str]) -> list[str]:
    """Write the float16 model; returns notes.

    Raises:
        ValueError: If there is nothing to convert.
    """
    from onnxconverter_common import float16

    model = onnx.load(model_path)
    cut = _beyond(model)
    floats = [v.name for v in model.graph.output if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    with files.scratch(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each weight that rounding to float16 makes zero
        made = float16.convert_float_to_float16(
            model,
            keep_io_types=True,
            disable_shape_infer=files.is_large(model),  # it takes one message, and the files have shapes already
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *keep_float32],
            # A cast to float32 stays one, and the converter believes that it gives float16 now.
            node_block_list=[node.name for node in walk.nodes(model.graph) if _casts(node, onnx.TensorProto.FLOAT)],
        )
    _keep_outputs(made.graph, floats)
    kinds = {t.data_type for t in made.graph.initializer}
    if onnx.TensorProto.FLOAT16 not in kinds and not any(
        _casts(node, onnx.TensorProto.FLOAT16) for node in walk.nodes(made.graph)
    ):
        raise ValueError("there is nothing in float32 that could be converted")
    files.save(made, Path(model_path), Path(destination))
    return [f"values beyond ±{_LARGEST:g} were cut to it in {cut}"] if cut else []


def overflowing(model_path: str, destination: str, feeds: Sequence[Arrays]) -> list[tuple[str, str]]:
    """Return name and operator of what is finite in the model and not in float16.

    On CPUs onnxruntime computes in float32 between casts and takes casts out, so that outputs do not show it; a GPU
    would. What is asked for as an output is really rounded.
    """
    was, now = onnx.load(model_path), onnx.load(destination)
    if files.is_large(was):
        return []
    was, now = onnx.shape_inference.infer_shapes(was), onnx.shape_inference.infer_shapes(now)
    known = {v.name for v in was.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    inner = {name: node.op_type for node in now.graph.node for name in node.output if name in known}
    halves = [v for v in now.graph.value_info if v.name in inner]
    names = [v.name for v in halves if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16]
    if not names:
        return []
    expected, rounded = _session(was, names), _session(now, names)
    found: dict[str, str] = {}
    for inputs in feeds:
        for name, a, b in zip(names, expected.run(names, inputs), rounded.run(names, inputs), strict=True):
            if a.shape != b.shape or (np.isfinite(a) & ~np.isfinite(b)).any():
                found[name] = inner[name]
    return list(found.items())


def _session(model: onnx.ModelProto, names: Sequence[str]) -> Any:
    import onnxruntime

    infos = {v.name: v for v in model.graph.value_info}
    model.graph.output.extend(infos[name] for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _casts(node: onnx.NodeProto, kind: int) -> bool:
    return any(a.name in ("to", "dtype") and a.i == kind for a in node.attribute)


def _keep_outputs(graph: onnx.GraphProto, floats: Sequence[str]) -> None:
    """Give outputs as the operators that stay in float32 compute them: the converter rounds these, and leaves it so."""
    makers = {name: node for node in graph.node for name in node.output}
    for output in graph.output:
        cast = makers[output.name]
        if output.name not in floats or output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            continue
        output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        inner, half = cast.input[0], f"{output.name}_float16"
        for node in graph.node:
            node.input[:] = [{output.name: half, inner: output.name}.get(name, name) for name in node.input]
            node.output[:] = [{output.name: half, inner: output.name}.get(name, name) for name in node.output]
        stale = [v for v in graph.value_info if v.name in (inner, output.name)]
        for value in stale:
            graph.value_info.remove(value)
        if not any(half in node.input for node in graph.node):
            graph.node.remove(cast)


def _beyond(model: onnx.ModelProto) -> list[str]:
    """Name the weights and constants that the converter cuts; masks have such values, and a cut does them no harm."""
    floats = [t for t in walk.tensors(model.graph) if t.data_type == onnx.TensorProto.FLOAT]
    return [t.name or "a constant" for t in floats if (abs(onnx.numpy_helper.to_array(t)) > _LARGEST).any()][:_MOST]
