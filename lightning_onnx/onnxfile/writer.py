"""A model without its weights, and how weights are written into it: one pass, no second copy in memory.

The file is protobuf, whose wire format (https://protobuf.dev/programming-guides/encoding/) is a row of fields, each a
key, a length and bytes; so the weights go from the module's own memory straight to the disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx

from lightning_onnx.errors import WeightsError
from lightning_onnx.onnxfile.recipes import Array, Constant, Recipe, State
from lightning_onnx.onnxfile.wire import key

SINGLE_FILE_BYTES = 2**31 - 2**24
"""Protobuf cannot hold 2 GiB; 16 MiB are left for the graph itself."""

_ALIGNMENT = 4096
"""Of weights in a file of their own, in bytes: the size of a page, so that runtimes can map them into memory."""


@dataclasses.dataclass(frozen=True)
class Template:
    """What is the same for every set of weights.

    Attributes:
        head: The model without graph and metadata.
        graph: The graph without weights, as bytes.
        weights: Name, type and dims of each initializer, and how its values are made.
    """

    head: onnx.ModelProto
    graph: bytes
    weights: tuple[tuple[onnx.TensorProto, Recipe], ...]

    @classmethod
    def of(cls, model: Any, recipes: Mapping[Any, Recipe]) -> Template:
        """Take a model apart.

        Args:
            model: An ``onnx_ir.Model``; its initializers are taken out of it.
            recipes: How each initializer's values are made, by ``onnx_ir.Value``.
        """
        import onnx_ir as ir

        weights = []
        for value in list(model.graph.initializers.values()):
            proto = onnx.TensorProto(name=value.name, data_type=int(value.dtype))
            weights.append((proto, recipes[value]))
        model.graph.initializers.clear()
        head = ir.to_proto(model)
        graph = head.graph.SerializeToString(deterministic=True)
        head.ClearField("graph")
        head.ClearField("metadata_props")
        return cls(head, graph, tuple(weights))

    def write(self, state: State, metadata: Mapping[str, str], destination: Path) -> onnx.ModelProto:
        """Write the model with its weights.

        Args:
            state: All parameters and buffers by name.
            metadata: Goes into the model's ``metadata_props``.
            destination: The ``.onnx`` file; above 2 GiB the weights go to ``<destination>.data`` beside it.

        Returns:
            The model without its weights' values.

        Raises:
            WeightsError: If a weight's dtype is not that of the graph.
        """
        head = onnx.ModelProto()
        head.CopyFrom(self.head)
        onnx.helper.set_model_props(head, dict(metadata))
        if self._size(state) > SINGLE_FILE_BYTES:
            data = destination.with_name(destination.name + ".data")
            with data.open("wb") as file:  # one weight after the other, so that what is computed is not all in memory
                entries = [_external(p, _fitting(p, recipe(state)), file, data.name) for p, recipe in self.weights]
            _write_model(head, self.graph, [(entry, None) for entry in entries], destination)
        else:
            arrays = [_fitting(proto, recipe(state)) for proto, recipe in self.weights]
            entries = [_header(p, values) for (p, _), values in zip(self.weights, arrays, strict=True)]
            _write_model(head, self.graph, list(zip(entries, arrays, strict=True)), destination)
        head.graph.ParseFromString(self.graph)
        head.graph.initializer.extend(entries)
        return head

    def _size(self, state: State) -> int:
        """Bytes of the weights or a little more, without computing them."""
        constants = (int(r.values.nbytes) for _, r in self.weights if isinstance(r, Constant))
        return sum(constants) + sum(a.nbytes for a in state.values())


def _fitting(proto: onnx.TensorProto, values: Array) -> Array:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(proto.data_type)
    if np.iscomplexobj(values) and not np.issubdtype(dtype, np.complexfloating):
        values = np.stack([values.real, values.imag], axis=-1)  # how torch writes complex weights
    if values.dtype != dtype:
        raise WeightsError(
            f"the weight {proto.name!r} is {values.dtype}, the graph was traced with {dtype}. "
            "Keep the module's dtypes from the first step to the last."
        )
    return values


def _header(proto: onnx.TensorProto, values: Array) -> onnx.TensorProto:
    header = onnx.TensorProto()
    header.CopyFrom(proto)
    header.dims.extend(values.shape)
    return header


def _external(proto: onnx.TensorProto, values: Array, file: BinaryIO, location: str) -> onnx.TensorProto:
    """Append a weight to the data file, and return the entry that points there."""
    file.write(bytes(-file.tell() % _ALIGNMENT))
    header = _header(proto, values)
    header.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", file.tell()), ("length", values.nbytes)):
        header.external_data.add(key=key, value=str(value))
    file.write(_raw(values))
    return header


def _write_model(
    head: onnx.ModelProto, graph: bytes, weights: Sequence[tuple[onnx.TensorProto, Array | None]], destination: Path
) -> None:
    entries = []
    for header, values in weights:
        message = header.SerializeToString(deterministic=True)
        if values is not None:
            message += key(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, values.nbytes)
        size = len(message) + (0 if values is None else values.nbytes)
        entries.append((key(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, size) + message, values))
    length = len(graph) + sum(len(start) + (0 if values is None else values.nbytes) for start, values in entries)
    with destination.open("wb") as file:
        file.write(head.SerializeToString(deterministic=True))
        file.write(key(onnx.ModelProto.GRAPH_FIELD_NUMBER, length))
        file.write(graph)
        for start, values in entries:
            file.write(start)
            if values is not None:
                file.write(_raw(values))


def _raw(values: Array) -> Any:
    """The values' bytes, in the file's order (little-endian), without a copy where they lie so already."""
    ordered = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data
