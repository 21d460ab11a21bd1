"""A part of an ONNX file between some of its values, as a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import shape_inference, utils

from lightning_onnx.errors import InputError, first_line


def extract(path: Path, inputs: Sequence[str], outputs: Sequence[str], target: Path) -> None:
    """Write the part of a model that computes some values from others.

    Args:
        path: The model.
        inputs: Names of the values that the part takes.
        outputs: Names of the values that it returns.
        target: The new file.

    Raises:
        InputError: If the model has no such values, or the part needs other inputs of the model.
    """
    try:
        utils.extract_model(path, target, list(inputs), list(outputs))
    except Exception as error:
        raise InputError(
            f"{path.name} has no part from {', '.join(inputs)} to {', '.join(outputs)} ({first_line(error)}). Give "
            "names of values of its graph."
        ) from error


def with_all_values(path: Path, target: Path) -> tuple[str, ...]:
    """Write a model that returns every tensor that a node of the main graph computes.

    Args:
        path: The model.
        target: The new file, with the weights in it.

    Returns:
        The names of its outputs, in the order in which they are computed.
    """
    model = shape_inference.infer_shapes(onnx.load(path))
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    names = [name for node in model.graph.node for name in node.output if name in known]
    kept = [name for name in names if known[name].type.WhichOneof("value") == "tensor_type"]
    values = {name: onnx.ValueInfoProto.FromString(known[name].SerializeToString()) for name in kept}
    del model.graph.output[:]
    model.graph.output.extend(values.values())
    onnx.save(model, target)
    return tuple(kept)
