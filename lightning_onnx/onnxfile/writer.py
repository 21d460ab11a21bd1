"""A model without its weights, and how it is written with them: in one pass, without a second copy in memory.

The keys of protobuf's fields are written here, so that weights go from the module's own memory straight to the disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import onnx

from lightning_onnx.errors import WeightsError
from lightning_onnx.onnxfile.recipes import Array, Constant, Recipe, State
from lightning_onnx.onnxfile.wire import key

if TYPE_CHECKING:
    import onnx_ir as ir

SINGLE_FILE_BYTES = 2**31 - 2**24
"""Weights of one file at most: protobuf's limit of 2 GiB, less 16 MiB for the graph itself."""

_ALIGNMENT = 4096
"""Alignment of weights in a separate file, in bytes: the size of a page, so that runtimes can map them into memory."""


@dataclasses.dataclass(frozen=True)
class Template:
    """The part of a file that is the same for every set of weights.

    Attributes:
        head: The model without graph and metadata.
        graph: The graph without weights, serialized.
        weights: Each initializer's name and type, and how its values are computed.
    """

    head: onnx.ModelProto
    graph: bytes
    weights: tuple[tuple[onnx.TensorProto, Recipe], ...]

    @classmethod
    def of(cls, model: ir.Model, recipes: Mapping[ir.Value, Recipe]) -> Template:
        """Split a model into what depends on weights and what does not.

        Args:
            model: Its initializers are removed.
            recipes: How each initializer's values are computed.
        """
        import onnx_ir as ir

        weights = []
        for value in list(model.graph.initializers.values()):
            if value.dtype is None:
                raise WeightsError(f"the weight {value.name!r} has no dtype in the graph. Export with another engine.")
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
            metadata: The model's ``metadata_props``.
            destination: The ``.onnx`` file. Weights of more than 2 GiB go to ``<destination>.data`` beside it.

        Returns:
            The model; its initializers have name, type and dims, but no values.

        Raises:
            WeightsError: If a weight's dtype differs from the graph's.
        """
        head = onnx.ModelProto()
        head.CopyFrom(self.head)
        onnx.helper.set_model_props(head, dict(metadata))
        if self._size(state) > SINGLE_FILE_BYTES:
            data = destination.with_name(destination.name + ".data")
            with data.open("wb") as file:  # one weight after the other: computed weights are not all in memory at once
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
        """Return the bytes of the weights, or a little more, without computing them."""
        constants = (int(r.values.nbytes) for _, r in self.weights if isinstance(r, Constant))
        return sum(constants) + sum(a.nbytes for a in state.values())


def _fitting(proto: onnx.TensorProto, values: Array) -> Array:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(proto.data_type)
    if np.iscomplexobj(values) and not np.issubdtype(dtype, np.complexfloating):
        values = np.stack([values.real, values.imag], axis=-1)  # as torch writes complex weights
    if values.dtype != dtype:
        raise WeightsError(
            f"the weight {proto.name!r} is {values.dtype}, the graph was traced with {dtype}. "
            "Do not change the module's dtypes during training."
        )
    return values


def _header(proto: onnx.TensorProto, values: Array) -> onnx.TensorProto:
    header = onnx.TensorProto()
    header.CopyFrom(proto)
    header.dims.extend(values.shape)
    return header


def _external(proto: onnx.TensorProto, values: Array, file: BinaryIO, location: str) -> onnx.TensorProto:
    """Append a weight to the data file and return the entry that refers to it."""
    file.write(bytes(-file.tell() % _ALIGNMENT))
    header = _header(proto, values)
    header.data_location = onnx.TensorProto.EXTERNAL
    for name, value in (("location", location), ("offset", file.tell()), ("length", values.nbytes)):
        header.external_data.add(key=name, value=str(value))
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


def _raw(values: Array) -> memoryview:
    """Return the values' bytes in the file's order, little-endian, without a copy if they are in it."""
    ordered = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data
