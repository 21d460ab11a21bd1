"""Which opsets the installed torch, onnx and onnxruntime can write and run."""

from __future__ import annotations

import dataclasses
import functools

DEFAULT_OPSET = 20
"""torch's own default, and low enough for runtimes without opset 23, such as pnnx and MNN."""

_DYNAMO_LOWEST = 17
"""The torch.export based engine writes opset 18 and above as asked, 17 for some modules, and 18 for lower ones."""

_SCRIPT = (9, 20)
"""Lowest and highest of the TorchScript based engine; ``torch.onnx`` tells them only in its errors."""

_ORT_LOWEST = 7
"""onnxruntime's compatibility page: "ONNX 1.2 and above", which is opset 7."""


@dataclasses.dataclass(frozen=True)
class Opsets:
    """Opsets that can be written and run here.

    Attributes:
        lowest: The lowest that an engine writes and onnxruntime runs.
        highest: The highest that an engine writes and onnxruntime runs.
        default: The one that is written unless another is asked for.
        onnx: Lowest and highest that the onnx package defines.
        onnxruntime: Lowest and highest that onnxruntime loads.
        engines: Lowest and highest that each engine writes and onnxruntime runs, by the engine's name.
    """

    lowest: int
    highest: int
    default: int
    onnx: tuple[int, int]
    onnxruntime: tuple[int, int]
    engines: dict[str, tuple[int, int]]


@functools.cache
def opsets() -> Opsets:
    """Return the opsets that the installed torch, onnx and onnxruntime can write and run.

    Example:
        >>> opsets().default
        20
    """
    import onnx.defs

    known = onnx.defs.onnx_opset_version()
    runs = _onnxruntime_highest(known)
    engines = {"dynamo": (_DYNAMO_LOWEST, min(known, runs)), "torchscript": (_SCRIPT[0], min(_SCRIPT[1], runs))}
    lowest = min(low for low, _ in engines.values())
    highest = max(high for _, high in engines.values())
    return Opsets(lowest, highest, DEFAULT_OPSET, (1, known), (_ORT_LOWEST, runs), engines)


def _onnxruntime_highest(known: int) -> int:
    """Find the highest opset that onnxruntime loads by trying, because it has no function that returns it."""
    import onnxruntime
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", value[:1], value[1:])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for opset in range(known, DEFAULT_OPSET, -1):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # onnxruntime's exception classes are not public
            continue
        return opset
    return DEFAULT_OPSET
