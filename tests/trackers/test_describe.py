from __future__ import annotations

import pytest

from lightning_onnx.trackers.describe import clean, clean_all


@pytest.mark.parametrize(
    ("text", "expected"),
    [("best", "best"), ("epoch=3", "epoch-3"), ("a//b::c", "a-b-c"), ("Ω", "onnx"), ("", "onnx"), ("-.x.-", "x")],
)
def test_names_are_made_of_allowed_characters(text: str, expected: str) -> None:
    assert clean(text, r"\w.-") == expected


def test_names_are_cut() -> None:
    assert clean("x" * 200, r"\w", 10) == "x" * 10


def test_each_name_comes_once() -> None:
    assert clean_all(["b", "a/", "a:", "b"], r"\w-") == ["b", "a"]
