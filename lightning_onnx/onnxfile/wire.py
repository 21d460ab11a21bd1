"""TODO."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import onnx


def fields(file: BinaryIO) -> Iterator[bytes]:
    """The top-level fields of a model, its graph left out."""
    graph = onnx.ModelProto.GRAPH_FIELD_NUMBER
    while key := read_varint(file):
        kind = decoded(key) & 7
        varint = read_varint(file)
        if decoded(key) >> 3 == graph:
            file.seek(decoded(varint), 1)
        elif kind == 2:
            yield key + varint + file.read(decoded(varint))
        else:
            yield key + varint


def read_varint(file: BinaryIO) -> bytes:
    read = b""
    while byte := file.read(1):
        read += byte
        if byte[0] < 128:
            break
    return read


def decoded(varint: bytes) -> int:
    return sum((byte & 127) << (7 * i) for i, byte in enumerate(varint))


def key(field: int, length: int) -> bytes:
    """A field that holds ``length`` bytes (wire type 2)."""
    return varint(field << 3 | 2) + varint(length)


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
