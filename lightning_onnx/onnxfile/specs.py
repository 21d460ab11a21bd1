"""What a file takes and gives, read from the file, and the one place where inputs are held against it.

Runtimes differ in what they do with inputs that do not fit: onnxruntime refuses, OpenVINO casts in silence, ncnn's
binding ends the process. So none of them sees any before this file has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import InputError

Shape = tuple["int | str | None", ...]
"""One entry a dim: its size, its name, or None where the file says neither."""


@dataclasses.dataclass(frozen=True)
class ValueSpec:
    """One input or output.

    Attributes:
        name: Its name.
        dtype: Numpy's name of its element type, None where it is no tensor of numbers.
        shape: Its dims, None where the file does not say.
        optional: Whether the file has a value for it.
    """

    name: str
    dtype: str | None
    shape: Shape | None
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.dtype or 'no tensor'}{'' if self.shape is None else list(self.shape)}"


@dataclasses.dataclass(frozen=True)
class ModelSpecs:
    """Inputs and outputs of a file, in the graph's order."""

    inputs: tuple[ValueSpec, ...]
    outputs: tuple[ValueSpec, ...]

    @classmethod
    def read(cls, path: Path) -> ModelSpecs:
        """Read them without the weights, of which a file may hold gigabytes.

        Args:
            path: An ONNX file.
        """
        import onnx

        kept: dict[int, list[Any]] = {_INPUT: [], _OUTPUT: []}
        weights = set()
        with path.open("rb") as file:
            for field, length in _fields(file, path.stat().st_size):
                if field != onnx.ModelProto.GRAPH_FIELD_NUMBER:
                    continue
                for inner, size in _fields(file, file.tell() + length):
                    if inner in kept:
                        kept[inner].append(onnx.ValueInfoProto.FromString(file.read(size)))
                    elif inner == _INITIALIZER:
                        weights.add(_name(file, size))
        return cls(*(tuple(_spec(v, v.name in weights) for v in kept[field]) for field in (_INPUT, _OUTPUT)))

    @property
    def batch(self) -> str | None:
        """Name of the dim that is the batch: the one called so, else the first dim of the first input."""
        dims = [d for spec in self.inputs if not spec.optional for d in spec.shape or () if isinstance(d, str)]
        first = next((spec.shape[0] for spec in self.inputs if spec.shape and not spec.optional), None)
        return "batch" if "batch" in dims else first if isinstance(first, str) else None

    def checked(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Return the inputs as arrays whose elements lie in order, or raise where they do not fit.

        Raises:
            InputError: If a name, a dtype or a size is not what the file says.
        """
        known = {spec.name: spec for spec in self.inputs}
        missing = [name for name, spec in known.items() if not spec.optional and name not in inputs]
        unknown = [name for name in inputs if name not in known]
        if missing or unknown:
            raise InputError(
                f"the inputs are {list(inputs)}, the file takes {list(known)}. Give each input under its name."
            )
        sizes: dict[str, tuple[int, str]] = {}
        return {name: _fitting(known[name], value, sizes) for name, value in inputs.items()}


def _fitting(spec: ValueSpec, value: Any, sizes: dict[str, tuple[int, str]]) -> NDArray[np.generic]:
    """Check one input; ``sizes`` has the named dims so far, and where they were seen."""
    if spec.dtype is None:  # strings, sequences, optionals: nothing that a runtime would take for numbers
        return value  # type: ignore[no-any-return]
    if not isinstance(value, np.ndarray) or value.dtype.name != spec.dtype or not value.dtype.isnative:
        got = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"input {spec.name!r} is {got}, the file takes {spec}. Give an array of that dtype.")
    dims = value.shape if spec.shape is None else spec.shape
    wrong = len(dims) != value.ndim
    for size, dim in zip(value.shape, dims, strict=False):
        wrong |= isinstance(dim, int) and dim != size
        if isinstance(dim, str):
            before, where = sizes.setdefault(dim, (size, spec.name))
            if before != size:
                raise InputError(
                    f"the dim {dim!r} is {before} in input {where!r} and {size} in {spec.name!r}. Give one size of it."
                )
    if wrong:
        raise InputError(
            f"input {spec.name!r} has the shape {list(value.shape)}, the file takes {spec}. Give one of that shape."
        )
    return np.asarray(value, order="C")


# The wire format of protobuf: https://protobuf.dev/programming-guides/encoding/

_INITIALIZER, _INPUT, _OUTPUT, _TENSOR_NAME = 5, 11, 12, 8
"""Numbers of fields in onnx.proto; they never change."""


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Yield number and length of each field of bytes, the file standing at them; what is not read is skipped."""
    while file.tell() < end:
        key = _varint(file)
        kind = key & 7
        if kind == 0:
            _varint(file)
        elif kind == 2:
            length = _varint(file)
            after = file.tell() + length
            yield key >> 3, length
            file.seek(after)
        elif kind in (1, 5):
            file.seek(8 if kind == 1 else 4, 1)
        else:
            raise InputError("the file is no ONNX model: its bytes are no protobuf. Give an ONNX file.")


def _varint(file: BinaryIO) -> int:
    number = shift = 0
    while byte := file.read(1):
        number |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            break
    return number


def _name(file: BinaryIO, size: int) -> str:
    for field, length in _fields(file, file.tell() + size):
        if field == _TENSOR_NAME:
            return file.read(length).decode()
    return ""


def _spec(value: Any, optional: bool) -> ValueSpec:
    from onnx import TensorProto, helper

    tensor = value.type.tensor_type  # empty where it is a sequence or another thing
    if tensor.elem_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return ValueSpec(value.name, None, None, optional)
    shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return ValueSpec(value.name, dtype, shape if tensor.HasField("shape") else None, optional)
