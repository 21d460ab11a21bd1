"""Reads an artifact that somebody else may have made: nothing in it is run, endless, or leads out of its directory."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from lightning_onnx.errors import ArtifactError, first_line

_MOST_BYTES = 2**24
"""Of a manifest; those of large modules have less than a tenth of it."""

_DEPTH = 64
"""Of objects and lists in each other; a manifest has about eight."""

_MOST_OF_MODEL = 2**31 - 1
"""Bytes of a model without its weights beside it: the most that protobuf reads."""

MOST_FILES = 10_000
"""Files of an artifact: each is looked up on the disk."""

_MOST_OF_HOLES = 2**30
"""Bytes that a file has and the disk does not: they take no time to make, and a long time to read."""

_LARGEST = 2**63
"""Integers beyond it are neither sizes nor numbers of steps, and some are too long to print."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; a FIFO would wait for its writer, and a device may have no end.

    Raises:
        OSError: If it is missing or no regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path.name} is not a regular file")
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # it was replaced in between
        os.close(descriptor)
        raise OSError(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def check_holes(path: Path, file: BinaryIO, before: int = 0) -> int:
    """Raise if too many bytes of a file are not on the disk, because nobody has written them.

    Args:
        path: The file, for the message.
        file: The same, opened; it is at its beginning afterwards.
        before: How many bytes of files that were read before are not on the disk.

    Returns:
        How many there are by now; where the file system tells of none, the same.

    Raises:
        ArtifactError: If there are more than any exporter leaves.
    """
    if not hasattr(os, "SEEK_DATA"):
        return before
    descriptor, size = file.fileno(), os.fstat(file.fileno()).st_size
    found, end = before, 0
    try:
        while end < size and found <= _MOST_OF_HOLES:
            data = os.lseek(descriptor, end, os.SEEK_DATA)
            found += data - end
            end = os.lseek(descriptor, data, os.SEEK_HOLE)
    except OSError as error:
        found += size - end if error.errno == errno.ENXIO else 0  # the rest has not been written
    os.lseek(descriptor, 0, os.SEEK_SET)
    if found > _MOST_OF_HOLES:
        raise ArtifactError(f"{path} has {size} bytes, most of which were never written. {_ADVICE}")
    return found


def read_json(path: Path) -> Any:
    """Read the JSON of a manifest.

    Args:
        path: The manifest.

    Raises:
        OSError: If it is missing, a link, or no regular file.
        ValueError: If it is not JSON, too large, or holds values that this package never writes: NaN and infinity,
            integers of more than 64 bits, surrogates, more than 64 levels.
    """
    if path.is_symlink():
        raise OSError(f"{path.name} is a link")
    with open_regular(path) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_refuse, parse_int=_integer, parse_float=_float)
    except RecursionError:
        raise ValueError(f"it has more than {_DEPTH} levels") from None
    _check_values(value)
    return value


def is_valid_name(name: str) -> bool:
    """Tell whether an artifact may have a file of this name: printable, with ``/`` between directories."""
    return bool(name) and name.isprintable() and "\\" not in name


def checked_name(directory: Path, name: str) -> Path:
    """Return the path of a file that is named in a manifest or a model.

    Args:
        directory: The artifact's directory.
        name: The name, relative to it.

    Raises:
        ArtifactError: If it is not a plain relative name, or leads out of the directory.
    """
    if not is_valid_name(name):
        raise ArtifactError(f"{directory} names the file {name[:80]!r}, which is an invalid name. {_ADVICE}")
    path = directory / name
    if PurePosixPath(name).is_absolute() or Path(name).is_absolute() or not _is_inside(path, directory):
        raise ArtifactError(f"{directory} names the file {name[:80]!r}, which is outside of it. {_ADVICE}")
    return path


def weights_beside(model: Path) -> set[str]:
    """Return the names of the files that a model names for its weights, relative to the model.

    Raises:
        ArtifactError: If the file is not an ONNX model.
        OSError: If it cannot be read.
    """
    import onnx

    from lightning_onnx.onnxfile import walk

    with open_regular(model) as file:
        content = file.read(_MOST_OF_MODEL + 1) if os.fstat(file.fileno()).st_size <= _MOST_OF_MODEL else None
    if content is None or len(content) > _MOST_OF_MODEL:  # it may have grown
        raise ArtifactError(f"{model} is not an ONNX model: it has {model.stat().st_size} bytes. {_ADVICE}")
    try:  # not onnx.load, which takes a file for text if its name ends so
        proto = onnx.ModelProto.FromString(content)
        entries = [entry for tensor in walk.tensors(proto) for entry in tensor.external_data]
        return {str(entry.value) for entry in entries if entry.key == "location"}  # what is not UTF-8 comes as bytes
    except Exception as error:
        raise ArtifactError(f"{model} is not an ONNX model ({first_line(error)}). {_ADVICE}") from error


_ADVICE = "Do not use this artifact; get it again from where it was exported."


def _is_inside(path: Path, directory: Path) -> bool:
    try:
        return path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError) as error:  # the name is too long, or a link leads to itself
        raise ArtifactError(
            f"{directory} names a file that cannot be found ({first_line(error)}). {_ADVICE}"
        ) from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -_LARGEST <= int(digits) < _LARGEST:
        raise ValueError(f"an integer has {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is infinite")
    return number


def _check_values(value: object) -> None:
    """Raise ValueError if the values are nested too deep, or a text has surrogates, which cannot be written."""
    layer, depth = [value], 0
    while layer:
        depth += 1
        if depth > _DEPTH:
            raise ValueError(f"it has more than {_DEPTH} levels")
        inner: list[object] = []
        for each in layer:
            if isinstance(each, dict):
                inner.extend(each)
                inner.extend(each.values())
            elif isinstance(each, list):
                inner.extend(each)
            elif isinstance(each, str):
                each.encode("utf-8")
        layer = inner
