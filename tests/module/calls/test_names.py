"""Names of inputs and outputs: derived, given, and checked against the graph's."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.names import check_axes_names, chosen_input_names, chosen_names, name_paths
from lightning_onnx.pipeline.config import ExportConfig


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([("a", "b"), ("a_b",)], ("a_b", "a_b_1")),
        ([("a b/c",)], ("a_b_c",)),
        ([("x",)], ("x_output",)),  # an input has that name
    ],
)
def test_names_are_valid_and_none_comes_twice(paths: Any, names: Any) -> None:
    assert name_paths(paths, "output", taken=["x"]) == names


def test_given_names_replace_the_derived_ones() -> None:
    assert chosen_names("input", None, ("x", "y")) == ("x", "y")
    assert chosen_names("input", ["a", "b"], ("x", "y")) == ("a", "b")
    with pytest.raises(ConfigurationError, match=r"input_names has 1 names \['a'\], but the graph has 2 inputs"):
        chosen_names("input", ["a"], ("x", "y"))


def test_dynamic_axes_must_name_tensors_of_the_graph() -> None:
    check_axes_names("auto", ["x"], ["y"])
    check_axes_names({"x": {0: "batch"}, "y": [0]}, ["x"], ["y"])
    with pytest.raises(ConfigurationError, match=r"dynamic_axes names \['z'\]"):
        check_axes_names({"z": [0]}, ["x"], ["y"])


def test_a_mapping_changes_the_names_of_some_inputs() -> None:
    derived, paths = ("batch_image", "batch_mask", "x"), [("batch", "image"), ("batch", "mask"), ("x",)]
    assert chosen_input_names({"image": "pixels", "x": "mask"}, derived, paths) == ("pixels", "batch_mask", "mask")
    assert chosen_input_names({"batch.mask": "m", "batch_image": "i"}, derived, paths) == ("i", "m", "x")
    with pytest.raises(ConfigurationError, match="has 'imag', but there is no such input: did you mean 'image'"):
        chosen_input_names({"imag": "pixels"}, derived, paths)
    with pytest.raises(ConfigurationError, match="gives two inputs the name 'x'"):
        chosen_input_names({"image": "x"}, derived, paths)
    with pytest.raises(ConfigurationError, match="is not a dict of names to names"):
        ExportConfig(input_names={"x": 1})  # type: ignore[dict-item]
