"""A model without its weights, and how it is written with them: in one pass, without a second copy in memory.

The keys of protobuf's fields are written here, so that weights go from the module's own memory straight to the disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from lightning_onnx.errors import WeightsError
from lightning_onnx.onnxfile.hashed_file import HashedFile, WrittenFile
from lightning_onnx.onnxfile.recipes import Array, Constant, Recipe, State
from lightning_onnx.onnxfile.shared_weights import ALIGNMENT, SHARED, SMALLEST, SharedWeights
from lightning_onnx.onnxfile.wire import key

if TYPE_CHECKING:
    import onnx_ir as ir

SINGLE_FILE_BYTES = 2**31 - 2**24
"""Weights of one file at most: protobuf's limit of 2 GiB, less 16 MiB for the graph itself."""


@dataclasses.dataclass(frozen=True)
class Written:
    """A model that was written.

    Attributes:
        model: Its initializers have name, type and dims, but no values.
        files: Digest and size of each file, by name.
    """

    model: onnx.ModelProto
    files: Mapping[str, WrittenFile]


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

    def write(
        self,
        state: State,
        metadata: Mapping[str, str],
        destination: Path,
        highest_ir_version: int | None = None,
        shared: SharedWeights | None = None,
    ) -> Written:
        """Write the model with its weights; one computed weight after the other is in memory.

        Args:
            state: All parameters and buffers by name.
            metadata: The model's ``metadata_props``.
            destination: The ``.onnx`` file. Weights of more than 2 GiB go to ``<destination>.data`` beside it.
            highest_ir_version: The highest IR version of the file, if it is limited. Versions 9 to 14 added element
                types, and annotations that older programs ignore.
            shared: A file for the weights of this and other models of the directory.

        Raises:
            WeightsError: If a weight's dtype differs from the graph's.
        """
        head = onnx.ModelProto()
        head.CopyFrom(self.head)
        onnx.helper.set_model_props(head, dict(metadata))
        if highest_ir_version is not None:
            head.ir_version = min(head.ir_version, highest_ir_version)
        weights = [_Weight(proto, recipe, state) for proto, recipe in self.weights]
        files = {}
        if shared is not None:
            for weight in weights:
                weight.write_shared(shared)
        elif self._size(state) > SINGLE_FILE_BYTES:
            data = destination.with_name(destination.name + ".data")
            with HashedFile(data) as file:
                for weight in weights:
                    weight.write_external(file, data.name)
            files[data.name] = file.written
        files[destination.name] = _write_model(head, self.graph, weights, destination)
        head.graph.ParseFromString(self.graph)
        head.graph.initializer.extend(weight.header for weight in weights)
        return Written(head, files)

    def _size(self, state: State) -> int:
        """Return the bytes of the weights, or a little more, without computing them."""
        constants = (int(r.values.nbytes) for _, r in self.weights if isinstance(r, Constant))
        return sum(constants) + sum(a.nbytes for a in state.values())


class _Weight:
    """One initializer of a file.

    Attributes:
        header: The initializer without its values.
        nbytes: Bytes of its values in the model's own file.
    """

    def __init__(self, proto: onnx.TensorProto, recipe: Recipe, state: State) -> None:
        like = recipe.like(state)
        self.header = onnx.TensorProto()
        self.header.CopyFrom(proto)
        self._is_pair = _check_dtype(proto, like)
        self.header.dims.extend((*like.shape, 2) if self._is_pair else like.shape)
        self.nbytes = like.nbytes
        self._recipe, self._state = recipe, state

    def raw(self) -> memoryview:
        """Return the values' bytes in the file's order, little-endian, without a copy if they are in it."""
        values = self._recipe(self._state)
        if self._is_pair:  # as torch writes complex weights
            values = np.stack([values.real, values.imag], axis=-1)
        ordered = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        assert ordered.nbytes == self.nbytes
        return ordered.reshape(-1).view(np.uint8).data

    def write_external(self, file: HashedFile, location: str) -> None:
        """Append the values to a data file; the header refers to them."""
        file.write(bytes(-file.size % ALIGNMENT))
        self._refer(location, file.size)
        file.write(self.raw())

    def write_shared(self, file: SharedWeights) -> None:
        """Put the values into a file for several models, unless they are small; the header refers to them."""
        if self.nbytes >= SMALLEST:
            self._refer(SHARED, file.place(self.raw()))

    def _refer(self, location: str, offset: int) -> None:
        self.header.data_location = onnx.TensorProto.EXTERNAL
        for name, value in (("location", location), ("offset", offset), ("length", self.nbytes)):
            self.header.external_data.add(key=name, value=str(value))

    @property
    def is_external(self) -> bool:
        """Whether the values are in another file."""
        return self.header.data_location == onnx.TensorProto.EXTERNAL


def _check_dtype(proto: onnx.TensorProto, like: Array) -> bool:
    """Tell whether complex values are written as pairs of floats; any other dtype has to be the graph's.

    Raises:
        WeightsError: If it is not.
    """
    dtype = onnx.helper.tensor_dtype_to_np_dtype(proto.data_type)
    is_pair = np.iscomplexobj(like) and not np.issubdtype(dtype, np.complexfloating)
    found = like.real.dtype if is_pair else like.dtype
    if found != dtype:
        raise WeightsError(
            f"the weight {proto.name!r} is {found}, the graph was traced with {dtype}. "
            "Do not change the module's dtypes during training."
        )
    return is_pair


def _write_model(head: onnx.ModelProto, graph: bytes, weights: Sequence[_Weight], destination: Path) -> WrittenFile:
    starts = []
    length = len(graph)
    for weight in weights:
        message = weight.header.SerializeToString(deterministic=True)
        inside = 0 if weight.is_external else weight.nbytes
        if not weight.is_external:
            message += key(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, inside)
        starts.append(key(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, len(message) + inside) + message)
        length += len(starts[-1]) + inside
    with HashedFile(destination) as file:
        file.write(head.SerializeToString(deterministic=True))
        file.write(key(onnx.ModelProto.GRAPH_FIELD_NUMBER, length))
        file.write(graph)
        for start, weight in zip(starts, weights, strict=True):
            file.write(start)
            if not weight.is_external:
                file.write(weight.raw())
    return file.written
