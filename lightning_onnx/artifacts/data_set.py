"""Test data in ONNX's own layout, ``test_data_set_*/input_0.pb``, whoever wrote them; needs no torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from lightning_onnx.artifacts.foreign import open_regular
from lightning_onnx.errors import DataSetError, first_line
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.base import Arrays


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One ``test_data_set_*``.

    Attributes:
        name: Name of its directory.
        inputs: The inputs by name.
        outputs: The expected outputs by name.
    """

    name: str
    inputs: Arrays
    outputs: Arrays


def find_data_sets(directory: Path) -> list[Path]:
    """Return the data sets of a directory: itself if it holds ``input_0.pb`` or ``output_0.pb``, else those in it."""
    if any((directory / name).is_file() for name in ("input_0.pb", "output_0.pb")):
        return [directory]
    return sorted(p for p in directory.glob("test_data_set_*") if p.is_dir())


def folder_of(model: Path) -> Path:
    """Return where the test data of a model are: in the folder of its name beside it, if there is one, or beside it.

    In an artifact of several methods, ``encode.onnx`` and its variants have the folder ``encode``.

    Args:
        model: The model, or a variant of it.
    """
    own = model.with_name(model.name.partition(".")[0])
    return own if own.is_dir() and find_data_sets(own) else model.parent


def read_data_set(directory: Path, specs: ModelSpecs) -> DataSet:
    """Read a data set.

    Args:
        directory: The directory with ``input_0.pb``, ``output_0.pb`` and so on.
        specs: Inputs and outputs of the model, in the order of these numbers.

    Raises:
        DataSetError: If it does not fit the model, or a file holds no tensor (but a sequence or an optional).
    """
    inputs = _arrays(directory, "input", [s.name for s in specs.inputs], [s.name for s in specs.inputs if s.optional])
    outputs = _arrays(directory, "output", [s.name for s in specs.outputs], [])
    if not outputs:
        raise DataSetError(f"{directory} holds no output_0.pb, so there is nothing to compare with.")
    return DataSet(directory.name, inputs, outputs)


def _arrays(directory: Path, kind: str, names: Sequence[str], optional: Sequence[str]) -> Arrays:
    import onnx
    from onnx import numpy_helper

    numbered = (re.fullmatch(rf"{kind}_(\d{{1,6}})\.pb", path.name) for path in directory.iterdir())
    files = [directory / found[0] for found in sorted(filter(None, numbered), key=lambda found: int(found[1]))]
    if len(files) < len(names):  # inputs with a default value may be left out
        names = [name for name in names if name not in optional]
    if len(files) > len(names):
        raise DataSetError(f"{directory} holds {len(files)} {kind}s, the model has {len(names)}.")
    found: Arrays = {}
    for file, name in zip(files, names, strict=False):
        try:
            with open_regular(file) as opened:
                tensor = onnx.TensorProto.FromString(opened.read())
            if not tensor.data_type:
                raise ValueError("it has no type")
            if tensor.external_data:  # onnx would read it, wherever it is
                raise ValueError("its values are in another file")
            found[name] = numpy_helper.to_array(tensor)
        except Exception as error:
            raise DataSetError(f"{file.name} of {directory.name} is not a tensor ({first_line(error)}).") from error
    return found
