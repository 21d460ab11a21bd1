"""What a ``.pt2`` file says of itself: inputs and outputs, as those of the ONNX file beside it; needs no torch."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_onnx.errors import InputError, first_line
from lightning_onnx.onnxfile.privacy import private_in
from lightning_onnx.onnxfile.specs import ModelSpecs, ValueSpec

MEMBER = "lightning_onnx.json"
"""The extra file with what ``description`` returns."""

_LARGEST = 64 * 2**20
"""Size in bytes from which a text in the file is not read."""


def description(specs: ModelSpecs, metadata: Mapping[str, str]) -> str:
    """Return the text that ``MEMBER`` holds.

    Args:
        specs: The inputs and outputs, in the program's order.
        metadata: The metadata of the ONNX file.
    """
    values = {kind: [dataclasses.asdict(s) for s in getattr(specs, kind)] for kind in ("inputs", "outputs")}
    return json.dumps({**values, "metadata": dict(metadata)}, sort_keys=True)


def read_specs(path: Path) -> ModelSpecs:
    """Return the inputs and outputs of a program that this package saved.

    Raises:
        InputError: If the file is no ``.pt2`` file, or does not name them.
    """
    described = _described(path)
    try:
        return ModelSpecs(*(tuple(_spec(value) for value in described[kind]) for kind in ("inputs", "outputs")))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path.name} is invalid: {MEMBER} lacks inputs or outputs. Export again.") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a program that this package saved.

    Raises:
        InputError: If the file is no ``.pt2`` file, or has none.
    """
    return dict(_described(path).get("metadata", {}))


def private_texts(path: Path) -> list[str]:
    """Return what is private in the texts of a program: stack traces, absolute paths, names of the user or host.

    Raises:
        InputError: If the file is no ``.pt2`` file.
    """
    return sorted({found for text in _texts(path) for found in private_in(text)})


def _described(path: Path) -> dict[str, Any]:
    for name, text in _members(path):
        if name.endswith(f"/extra/{MEMBER}"):
            found = _parsed(path, text)
            if isinstance(found, dict):
                return found
    raise InputError(
        f"{path.name} does not name its inputs and outputs: it was not saved by this package. Run it with torch."
    )


def _texts(path: Path) -> Iterator[str]:
    """Yield each string in the JSON files of a program."""
    for _, text in _members(path):
        layer = [_parsed(path, text)]
        while layer:
            value = layer.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict):
                layer += [*value, *value.values()]
            elif isinstance(value, list):
                layer += value


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path.name} is no .pt2 file ({first_line(error)}). Export again.") from error


def _members(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the JSON files in a program by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".json") and member.file_size <= _LARGEST:
                    yield member.filename, archive.read(member).decode("utf-8")
    except (zipfile.BadZipFile, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{path.name} is no .pt2 file ({first_line(error)}). Export again.") from error


def _spec(value: Mapping[str, Any]) -> ValueSpec:
    shape = None if value["shape"] is None else tuple(value["shape"])
    return ValueSpec(value["name"], value["dtype"], shape, value["optional"])
