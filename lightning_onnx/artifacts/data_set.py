"""Test data beside a file, in the layout of ONNX: found and read without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from lightning_onnx.errors import DataSetError, first_line
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.base import Arrays


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One ``test_data_set_*``.

    Attributes:
        name: Of its directory.
        inputs: By name.
        outputs: Those that are expected, by name.
    """

    name: str
    inputs: Arrays
    outputs: Arrays


def find_data_sets(directory: Path) -> list[Path]:
    """Return the data sets of a directory: itself where it holds ``output_0.pb`` or an input, else those in it."""
    if any((directory / name).is_file() for name in ("input_0.pb", "output_0.pb")):
        return [directory]
    return sorted(p for p in directory.glob("test_data_set_*") if p.is_dir())


def read_data_set(directory: Path, specs: ModelSpecs) -> DataSet:
    """Read a data set.

    Args:
        directory: With ``input_0.pb``, ``output_0.pb`` …
        specs: Of the file, whose inputs are meant in their order.

    Raises:
        DataSetError: If it does not fit the file, or holds sequences or optionals.
    """
    inputs = _arrays(directory, "input", [s.name for s in specs.inputs], [s.name for s in specs.inputs if s.optional])
    outputs = _arrays(directory, "output", [s.name for s in specs.outputs], [])
    if not outputs:
        raise DataSetError(f"{directory} holds no output_0.pb, so there is nothing to compare with.")
    return DataSet(directory.name, inputs, outputs)


def _arrays(directory: Path, kind: str, names: Sequence[str], optional: Sequence[str]) -> Arrays:
    import onnx
    from onnx import numpy_helper

    files = sorted(directory.glob(f"{kind}_*.pb"), key=lambda p: int(p.stem.rpartition("_")[2]))
    if len(files) < len(names):  # what has a default in the file comes without
        names = [name for name in names if name not in optional]
    if len(files) > len(names):
        raise DataSetError(f"{directory} holds {len(files)} {kind}s, the model has {len(names)}.")
    found: Arrays = {}
    for file, name in zip(files, names, strict=False):
        try:
            tensor = onnx.TensorProto.FromString(file.read_bytes())
            if not tensor.data_type:
                raise ValueError("it has no type")
            found[name] = numpy_helper.to_array(tensor)
        except Exception as error:
            raise DataSetError(f"{file.name} of {directory.name} is no tensor ({first_line(error)}).") from error
    return found
