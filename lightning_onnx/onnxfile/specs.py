"""The inputs and outputs of a file, read from its bytes, and the one place where given inputs are checked against them.

Runtimes differ in what they do with inputs that do not fit: onnxruntime refuses, OpenVINO casts silently, ncnn's
binding ends the process. So no runtime gets inputs that have not been checked here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import InputError
from lightning_onnx.onnxfile.wire import Field, fields

if TYPE_CHECKING:
    from onnx import TypeProto, ValueInfoProto

PROGRAM_SUFFIX = ".pt2"
"""Suffix of the files of ``torch.export.save``; all other files are ONNX files."""

Shape = tuple["int | str | None", ...]
"""One entry for each dim: its size, its name, or None if the file gives neither."""


_MOST_DIMS = 1000
"""Of a weight; numpy has at most 64. Each dim is a field, which takes time to read."""


@dataclasses.dataclass(frozen=True)
class ValueSpec:
    """One input or output.

    Attributes:
        name: Its name.
        dtype: Its element type, as numpy names it; None if it is not a tensor of numbers.
        shape: Its dims; None if the file does not say.
        optional: Whether the file has a default value for it.
    """

    name: str
    dtype: str | None
    shape: Shape | None
    optional: bool = False

    def __str__(self) -> str:
        dims = None if self.shape is None else ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.dtype or 'no tensor'}{'' if dims is None else f'[{dims}]'}"


@dataclasses.dataclass(frozen=True)
class ModelSpecs:
    """Inputs and outputs of a file, in the graph's order."""

    inputs: tuple[ValueSpec, ...]
    outputs: tuple[ValueSpec, ...]

    @classmethod
    def read(cls, path: Path) -> ModelSpecs:
        """Read them without the weights, of which a file may hold gigabytes.

        Args:
            path: An ONNX file, or a ``.pt2`` file that this package saved.

        Raises:
            InputError: If the file is neither.
        """
        if path.suffix == PROGRAM_SUFFIX:
            from lightning_onnx.onnxfile.program_file import read_specs

            return read_specs(path)
        import onnx

        graph_fields = onnx.GraphProto
        found: dict[int, list[onnx.ValueInfoProto]] = {
            graph_fields.INPUT_FIELD_NUMBER: [],
            graph_fields.OUTPUT_FIELD_NUMBER: [],
        }
        weights = set()
        with path.open("rb") as file:
            for graph in fields(file, 0, path.stat().st_size):
                if graph.number != onnx.ModelProto.GRAPH_FIELD_NUMBER:
                    continue
                for field in fields(file, graph.content, graph.end):
                    if field.number in found:
                        found[field.number].append(onnx.ValueInfoProto.FromString(field.read(file)))
                    elif field.number == graph_fields.INITIALIZER_FIELD_NUMBER:
                        weights.add(_name(file, field))
        return cls(*(tuple(_spec(value, value.name in weights) for value in values) for values in found.values()))

    @property
    def batch(self) -> str | None:
        """Name of the batch dim: ``"batch"`` if a dim has that name, else the first dim of the first input."""
        dims = [d for spec in self.inputs if not spec.optional for d in spec.shape or () if isinstance(d, str)]
        first = next((spec.shape[0] for spec in self.inputs if spec.shape and not spec.optional), None)
        return "batch" if "batch" in dims else first if isinstance(first, str) else None

    def checked(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Return inputs as arrays in C order.

        Args:
            inputs: By name; optional ones may be missing.

        Raises:
            InputError: If a name, a dtype or a shape is not what the file says.
        """
        known = {spec.name: spec for spec in self.inputs}
        missing = [name for name, spec in known.items() if not spec.optional and name not in inputs]
        unknown = [name for name in inputs if name not in known]
        if missing or unknown:
            raise InputError(
                f"the inputs are {list(inputs)}, the file takes {list(known)}. Give each input under its name."
            )
        arrays = {name: _checked(known[name], value) for name, value in inputs.items()}
        _check_named_dims([(known[name], array) for name, array in arrays.items()])
        return arrays


def _checked(spec: ValueSpec, value: Any) -> NDArray[np.generic]:
    """Check one input; strings, sequences and optionals pass, because no runtime takes them for numbers."""
    if spec.dtype is None:
        return value  # type: ignore[no-any-return]
    if not isinstance(value, np.ndarray) or value.dtype.name != spec.dtype or not value.dtype.isnative:
        got = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"input {spec.name!r} is {got}, the file takes {spec}. Give an array of that dtype.")
    dims = value.shape if spec.shape is None else spec.shape
    sizes = zip(value.shape, dims, strict=False)
    wrong = [
        f"dim {i} has to be {dim}, not {size}"
        for i, (size, dim) in enumerate(sizes)
        if isinstance(dim, int) and size != dim
    ]
    if len(dims) != value.ndim:
        wrong = [f"it has to have {len(dims)} dims, not {value.ndim}"]
    if wrong:
        raise InputError(
            f"input {spec.name!r} has the shape {list(value.shape)}, the file takes {spec}: {', '.join(wrong)}. Give "
            "an array of that shape."
        )
    return np.asarray(value, order="C")


def _check_named_dims(inputs: Iterable[tuple[ValueSpec, NDArray[np.generic]]]) -> None:
    """Raise if a named dim has two sizes."""
    seen: dict[str, tuple[int, str]] = {}
    for spec, array in inputs:
        for size, dim in zip(array.shape, spec.shape, strict=True) if spec.dtype and spec.shape else ():
            if not isinstance(dim, str):
                continue
            before, where = seen.setdefault(dim, (size, spec.name))
            if before != size:
                raise InputError(
                    f"the dim {dim!r} is {before} in input {where!r} and {size} in {spec.name!r}. Give one size of it."
                )


def dims_of(tensor: TypeProto.Tensor) -> tuple[int | str, ...]:
    """Return the size or the name of each dim of a type; the name is empty if the file gives neither.

    Args:
        tensor: The type of a value; one without a shape has no dims.
    """
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim)


def _name(file: BinaryIO, tensor: Field) -> str:
    """Return the name of an initializer without reading its values."""
    from onnx import TensorProto

    for i, field in enumerate(fields(file, tensor.content, tensor.end)):
        if field.number == TensorProto.NAME_FIELD_NUMBER:
            return field.read(file).decode()
        if i == _MOST_DIMS:
            raise InputError(f"the file is not an ONNX model: a weight has over {_MOST_DIMS} dims. Give an ONNX file.")
    return ""


def _spec(value: ValueInfoProto, optional: bool) -> ValueSpec:
    from onnx import TensorProto, helper

    tensor = value.type.tensor_type  # empty if it is a sequence or another thing
    if tensor.elem_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return ValueSpec(value.name, None, None, optional)
    shape = tuple(None if dim == "" else dim for dim in dims_of(tensor))
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return ValueSpec(value.name, dtype, shape if tensor.HasField("shape") else None, optional)
