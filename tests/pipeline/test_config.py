"""Options that describe the file: an invalid value raises at once, and the message lists valid ones."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_onnx import ConfigurationError, ONNXExport


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "fast"}, r"engine='fast'.*Choose one of 'auto', 'dynamo', 'torchscript'"),
        ({"test_data": "real"}, "test_data='real'"),
        ({"input_names": "x"}, "one string"),
        ({"input_names": ["x", "x"]}, r"\['x'\] more than once"),
        ({"input_names": ["a b"]}, "not valid tensor names"),
        ({"input_names": [1]}, "not a list of strings"),
        ({"output_names": {"output": "y"}}, r"not a list of strings\. Give a list such as \['logits'\]"),
        ({"input_names": {"x": "a", "y": "a"}}, r"input_names=\{'x': 'a', 'y': 'a'\} gives a name twice"),
        ({"input_names": ["x"], "output_names": ["x"]}, r"share \['x'\]"),
        ({"opset_version": 5}, "opset_version=5 is not supported.*support 9 to"),
        ({"opset_version": 99}, "opset_version=99 is not supported"),
        ({"opset_version": "17"}, "not an integer"),
        ({"opset_version": True}, "not an integer"),
        ({"opset_version": 13, "engine": "dynamo"}, "opset_version=13 is not supported with engine='dynamo'"),
        ({"opset_version": 21, "engine": "torchscript"}, "opset_version=21 is not supported with engine='torchscript'"),
        ({"dynamic_axes": "all"}, "neither 'auto', None nor a dict"),
        ({"dynamic_axes": {"x": {"0": "batch"}}}, "neither a dict of axis to name nor a list"),
        ({"dynamic_axes": {"x": {0: "a batch"}}}, "dim names"),
        ({"variants": "int8"}, r"Give a list: variants=\['int8'\]"),
        ({"exclude_inputs": "labels"}, "is one string. Give a list"),
        ({"checks": ["parity"]}, "which does not fit"),
        ({"metadata": {"epochs": 3}}, "not a dict of str to str"),
        ({"metadata": {"lightning_onnx.epoch": "3"}}, "reserved for this package"),
        ({"export_options": {"dynamo": True}}, "export_options has"),
    ],
)
def test_invalid_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ONNXExport(**options)
