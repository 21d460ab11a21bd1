"""Whether a file is valid according to onnx, without reading its large weights.

``onnx.checker.check_model`` with ``full_check`` holds a file twice in memory. Nothing that it looks at is a value of a
large weight, so it gets a model whose large weights are references into the file.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
from onnx import GraphProto, ModelProto, TensorProto

from lightning_onnx.onnxfile.wire import Field, fields

_LARGE = 2**16
"""Bytes from which a weight is large. Shapes and axes, whose values are looked at, are smaller."""


def check_model(path: Path) -> None:
    """Check a file with ``onnx.checker.check_model(full_check=True)``.

    Args:
        path: The file. A small one is written beside it, and removed.

    Raises:
        InputError: If it is not an ONNX model.
        Exception: What onnx raises if the model is invalid.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".onnx") as file:
        file.write(without_large_weights(path).SerializeToString())
        file.flush()
        onnx.checker.check_model(file.name, full_check=True)


def without_large_weights(path: Path) -> ModelProto:
    """Read a model; large initializers refer to their values in the file, as external data.

    Args:
        path: The file.

    Raises:
        InputError: If it is not an ONNX model.
    """
    model = ModelProto()
    with path.open("rb") as file:
        for field in fields(file, 0, path.stat().st_size):
            if field.number == ModelProto.GRAPH_FIELD_NUMBER:
                _read_graph(model.graph, file, field, path.name)
            else:
                model.MergeFromString(field.read_whole(file))
    return model


def _read_graph(graph: GraphProto, file: BinaryIO, field: Field, location: str) -> None:
    for part in fields(file, field.content, field.end):
        is_large = part.number == GraphProto.INITIALIZER_FIELD_NUMBER and part.end - part.content >= _LARGE
        referring = _referring(file, part, location) if is_large else None
        if referring is None:
            graph.MergeFromString(part.read_whole(file))
        else:
            graph.initializer.append(referring)


def _referring(file: BinaryIO, field: Field, location: str) -> TensorProto | None:
    """Return an initializer that refers to its values in the file; None if it has none of the right size there."""
    tensor, values = TensorProto(), None
    for part in fields(file, field.content, field.end):
        if part.number == TensorProto.RAW_DATA_FIELD_NUMBER:
            values = part
        elif part.end - part.content >= _LARGE:
            return None
        else:
            tensor.MergeFromString(part.read_whole(file))
    if values is None or values.end - values.content != _bytes(tensor):
        return None
    tensor.data_location = TensorProto.EXTERNAL
    for name, value in _place(values, location):
        tensor.external_data.add(key=name, value=value)
    return tensor


def _place(values: Field, location: str) -> Iterator[tuple[str, str]]:
    yield "location", location
    yield "offset", str(values.content)
    yield "length", str(values.end - values.content)


def _bytes(tensor: TensorProto) -> int | None:
    """Return the bytes of a tensor's values; None if its type is unknown."""
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError:
        return None
    return int(math.prod(tensor.dims) * kind.itemsize)
