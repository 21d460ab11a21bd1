"""A variant with weights and arithmetic in float16, but the same inputs and outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from lightning_onnx.checks.metric_names import Mode
from lightning_onnx.module.tracing_thread import without_warnings
from lightning_onnx.onnxfile import walk
from lightning_onnx.option_names import known_options
from lightning_onnx.option_values import check_texts
from lightning_onnx.runtimes.base import Arrays
from lightning_onnx.variants import base, files
from lightning_onnx.variants.base import Making

if TYPE_CHECKING:
    import onnxruntime

_LARGEST = 1e4
"""The converter clips weights and constants to this magnitude; larger ones are mostly masks."""

_MOST = 5
"""Maximum number of names in a message."""


@known_options
@dataclasses.dataclass(frozen=True)
class Float16:
    """A model of half the size that computes in float16, made by ``onnxconverter_common``.

    Its inputs and outputs keep their dtypes. It is for GPUs: on CPUs without float16 arithmetic, it is not faster than
    float32. Values beyond ±65504 become infinite, and the variant fails.

    Args:
        keep_float32: Operators to keep in float32, in addition to those that the converter never converts, such as
            ``"ReduceMean"`` if its sums exceed the range of float16.
        max_difference: How much outputs may differ, as a share of their scale.
        max_metric_drop: How much worse a metric may get: 0.01 is a hundredth of an accuracy, or 1% of an error.
        metric: The metric that decides; default: all logged metrics, but no losses where an accuracy is logged.
        name: Its file is ``model.<name>.onnx``.
        metric_mode: ``"min"`` if lower values of ``metric`` are better, ``"max"`` if higher ones are; default: as
            ``ModelCheckpoint``, torchmetrics or the metric's name say.

    Example:
        >>> Float16(keep_float32=("Softmax",)).name
        'fp16'
    """

    keep_float32: Sequence[str] = ()
    max_difference: float = 1e-2
    max_metric_drop: float = 0.01
    metric: str | None = None
    name: str = "fp16"
    metric_mode: Mode | None = None
    needs_validation: bool = dataclasses.field(default=True, init=False)

    def __post_init__(self) -> None:
        """Check the options."""
        base.check_options(self)
        check_texts(self, "keep_float32", "Softmax")

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
                f"values exceed the range of float16 (±65504) in {[name for name, _ in found[:_MOST]]}. Keep their "
                f"operators in float32: Float16(keep_float32=({kinds},))"
            )
        return notes


def convert(model_path: str, destination: str, keep_float32: Sequence[str]) -> list[str]:
    """Write the float16 model; returns notes.

    Raises:
        ValueError: If there is nothing to convert.
    """
    from onnxconverter_common import float16

    model = onnx.load(model_path)
    clipped = _clipped(model)
    _separate_outputs(model.graph)
    floats = [v.name for v in model.graph.output if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    with files.scratch(), without_warnings():  # a warning for each weight that becomes zero in float16
        made = float16.convert_float_to_float16(
            model,
            keep_io_types=True,
            disable_shape_infer=files.is_large(
                model
            ),  # which takes a single message; the shapes are in the file already
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *keep_float32],
            # A cast to float32 is kept, but the converter would treat its output as float16.
            node_block_list=[node.name for node in walk.nodes(model.graph) if _casts(node, onnx.TensorProto.FLOAT)],
        )
    _keep_outputs(made.graph, floats)
    kinds = {t.data_type for t in made.graph.initializer}
    if onnx.TensorProto.FLOAT16 not in kinds and not any(
        _casts(node, onnx.TensorProto.FLOAT16) for node in walk.nodes(made.graph)
    ):
        raise ValueError("nothing in the model is float32")
    files.save(made, Path(model_path), Path(destination))
    return [f"values beyond ±{_LARGEST:g} were clipped in {clipped}"] if clipped else []


def overflowing(model_path: str, destination: str, feeds: Sequence[Arrays]) -> list[tuple[str, str]]:
    """Return name and operator of each value that is finite in the model but not in float16.

    On CPUs onnxruntime removes casts and computes in float32 between them, so the outputs do not show an overflow that
    happens on a GPU. Values that are outputs themselves really are rounded.
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


def _session(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    """Load a model with inner values as additional outputs."""
    import onnxruntime

    infos = {v.name: v for v in model.graph.value_info}
    model.graph.output.extend(infos[name] for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _casts(node: onnx.NodeProto, kind: int) -> bool:
    return any(a.name in ("to", "dtype") and a.i == kind for a in node.attribute)


def _separate_outputs(graph: onnx.GraphProto) -> None:
    """Give an output that other nodes use a value of its own: the converter would give both the same dtype."""
    used = {name for node in walk.nodes(graph) for name in node.input}
    made = {name for node in graph.node for name in node.output}
    inner = {v.name: f"{v.name}::inner" for v in graph.output if v.name in used & made}
    graph.value_info.extend(onnx.helper.make_value_info(inner[v.name], v.type) for v in graph.output if v.name in inner)
    for node in walk.nodes(graph):
        node.input[:] = [inner.get(name, name) for name in node.input]
        node.output[:] = [inner.get(name, name) for name in node.output]
    graph.node.extend(onnx.helper.make_node("Identity", [value], [name]) for name, value in inner.items())


def _keep_outputs(graph: onnx.GraphProto, floats: Sequence[str]) -> None:
    """Keep outputs of float32 operators unrounded: the converter casts them to float16."""
    makers = {name: node for node in graph.node for name in node.output}
    for output in graph.output:
        cast = makers[output.name]
        if output.name not in floats or output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            continue
        output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        inner = cast.input[0]
        graph.node.remove(cast)  # nothing else uses the output: see _separate_outputs
        for node in graph.node:
            node.input[:] = [output.name if name == inner else name for name in node.input]
            node.output[:] = [output.name if name == inner else name for name in node.output]
        stale = [v for v in graph.value_info if v.name in (inner, output.name)]
        for value in stale:
            graph.value_info.remove(value)


def _clipped(model: onnx.ModelProto) -> list[str]:
    """Return the names of weights and constants that the converter clips; this is harmless for masks."""
    floats = [t for t in walk.tensors(model.graph) if t.data_type == onnx.TensorProto.FLOAT]
    return [t.name or "a constant" for t in floats if (abs(onnx.numpy_helper.to_array(t)) > _LARGEST).any()][:_MOST]
