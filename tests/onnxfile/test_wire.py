"""Fields are found where protobuf wrote them, and bytes that are not a message are refused."""

from __future__ import annotations

import io

import pytest
from onnx import TensorProto, helper

from lightning_onnx.errors import InputError
from lightning_onnx.onnxfile.wire import fields, key


def written(message: bytes) -> io.BytesIO:
    return io.BytesIO(b"before" + message + b"behind")


def test_every_kind_of_field() -> None:
    tensor = helper.make_tensor("weight", TensorProto.FLOAT, [300], [0.5] * 300)
    attribute = helper.make_attribute("alpha", 0.5)  # a float has 4 bytes, and an enum no length
    for message in (tensor, attribute):
        data = message.SerializeToString()
        file = written(data)
        found = list(fields(file, 6, 6 + len(data)))
        assert [field.start for field in found[1:]] == [field.end for field in found[:-1]]
        assert {field.number for field in found} == {descriptor.number for descriptor, _ in message.ListFields()}
        copy = type(message)()
        for field in found:
            copy.MergeFromString(field.read_whole(file))
        assert copy == message
    (name,) = (field for field in fields(file, 6, 6 + len(data)) if field.number == 1)
    assert name.read(file) == b"alpha"


@pytest.mark.parametrize("length", [0, 1, 127, 128, 2**14, 2**21 + 1])
def test_keys_are_those_of_protobuf(length: int) -> None:
    tensor = TensorProto(raw_data=bytes(length))
    assert key(TensorProto.RAW_DATA_FIELD_NUMBER, length) + tensor.raw_data == tensor.SerializeToString()
    data = key(300, length) + bytes(length)
    (field,) = fields(io.BytesIO(data), 0, len(data))
    assert (field.number, field.end - field.content) == (300, length)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0e", id="an unknown wire type"),
        pytest.param(b"\x0a\x05abc", id="a field longer than the file"),
        pytest.param(b"\x80\x80", id="a number that does not end"),
        pytest.param(b"\x0d\x00\x00", id="half of a float"),
    ],
)
def test_bytes_that_are_not_a_message(data: bytes) -> None:
    with pytest.raises(InputError, match="is not an ONNX model"):
        list(fields(io.BytesIO(data), 0, len(data)))
