from __future__ import annotations

from typing import Any

import pytest

from lightning_onnx import ArtifactError
from lightning_onnx.manifest.fields import Fields

FIELDS = Fields(
    {
        "text": "a",
        "number": 1,
        "nothing": None,
        "list": [1, 2],
        "mixed": [1, "a"],
        "object": {"a": {"b": 1}, "c": 2},
        "lists": {"a": [1], "b": [2.5]},
    },
    "source",
)


def test_values_of_the_requested_type_are_returned() -> None:
    assert FIELDS.required("text", str) == "a"
    assert FIELDS.required("number", float) == 1, "an integer is a number"
    assert FIELDS.items("list", int) == (1, 2)
    assert FIELDS.shape("mixed") == (1, "a")
    assert FIELDS.lists_by_name("lists", float) == {"a": (1,), "b": (2.5,)}
    assert FIELDS.one_of("text", ("b", "a")) == "a"
    assert FIELDS.object("object").object("a").required("b", int) == 1


def test_missing_and_null_fields_are_none_or_empty() -> None:
    for key in ("nothing", "unknown"):
        assert FIELDS.optional(key, str) is None
        assert FIELDS.items(key, str) == ()
        assert FIELDS.by_name(key, str) == {}
        assert FIELDS.objects(key) == ()


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda f: f.required("unknown", str), r"source\.unknown is missing"),
        (lambda f: f.required("text", int), r"source\.text is 'a', expected an integer"),
        (lambda f: f.optional("number", str), r"source\.number is 1, expected text"),
        (lambda f: f.items("mixed", int), r"source\.mixed\[1\] is 'a', expected an integer"),
        (lambda f: f.items("object", int), r"source\.object is an object, expected a list"),
        (lambda f: f.objects("list"), r"source\.list\[0\] is 1, expected an object"),
        (lambda f: f.objects("unknown", required=True), r"source\.unknown is missing"),
        (lambda f: f.objects_by_name("object"), r"source\.object\.c is 2, expected an object"),
        (lambda f: f.lists_by_name("lists", int), r"source\.lists\.b\[0\] is 2\.5, expected an integer"),
        (lambda f: f.object("object").object("a").required("b", str), r"source\.object\.a\.b is 1, expected text"),
        (lambda f: f.one_of("text", ("b", "c")), r"source\.text is 'a', expected one of \('b', 'c'\)"),
        (lambda f: f.shape("object"), r"source\.object is an object, expected a list"),
        (lambda f: Fields([]), r"its JSON is a list, expected an object"),
    ],
)
def test_errors_name_the_field(read: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        read(FIELDS)
