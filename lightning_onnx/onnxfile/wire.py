"""Protobuf's wire format: fields are found and written without reading what they hold.

A message is a row of fields, each a key, a length and its content: https://protobuf.dev/programming-guides/encoding/.
Protobuf's own library reads a message as a whole; an ONNX file may hold gigabytes of weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

from lightning_onnx.errors import InputError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
"""Wire types: what follows a key."""

_VARINT_BITS = 70
"""Ten bytes of seven bits; protobuf has no longer numbers."""

_BROKEN = "the file is not an ONNX model: its bytes are not protobuf. Give an ONNX file."


@dataclasses.dataclass(frozen=True)
class Field:
    """Where a field is in a file.

    Attributes:
        number: Its number in the message.
        start: Position of its key, in bytes.
        content: Position of its content: after the length, if it has one.
        end: Position after it.
    """

    number: int
    start: int
    content: int
    end: int

    def read(self, file: BinaryIO) -> bytes:
        """Return what the field holds."""
        file.seek(self.content)
        return file.read(self.end - self.content)

    def read_whole(self, file: BinaryIO) -> bytes:
        """Return the field with its key and length, as a message that has only this field."""
        file.seek(self.start)
        return file.read(self.end - self.start)


def fields(file: BinaryIO, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of a message.

    Args:
        file: Opened for reading; its position may be changed between two fields.
        start: Position of the message, in bytes.
        end: Position after it.

    Raises:
        InputError: If the bytes are not a message.
    """
    while start < end:
        file.seek(start)
        key = _read_varint(file)
        content = file.tell()
        kind = key & 7
        if kind == _VARINT:
            _read_varint(file)
            after = file.tell()
        elif kind == _LENGTH:
            length = _read_varint(file)
            content = file.tell()
            after = content + length
        elif kind in (_FIXED64, _FIXED32):
            after = content + (8 if kind == _FIXED64 else 4)
        else:
            raise InputError(_BROKEN)
        if after > end:
            raise InputError(_BROKEN)
        yield Field(key >> 3, start, content, after)
        start = after


def key(field: int, length: int) -> bytes:
    """Return the bytes before a field's content.

    Args:
        field: Number of the field.
        length: Bytes of its content.

    Example:
        >>> key(7, 300).hex()
        '3aac02'
    """
    return _varint(field << 3 | _LENGTH) + _varint(length)


def _read_varint(file: BinaryIO) -> int:
    number = shift = 0
    while shift < _VARINT_BITS and (byte := file.read(1)):
        number |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return number
        shift += 7
    raise InputError(_BROKEN)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
