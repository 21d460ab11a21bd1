from __future__ import annotations

from typing import Any

import pytest

from lightning_onnx import ConfigurationError, ONNXExport
from lightning_onnx.contract.given import check_given


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "cat"}, r"labels='cat' is not a list of class names"),
        ({"labels": [0, 1]}, "is not a list of class names"),
        ({"labels": ["a"], "contract": False}, "Leave one of them out"),
        ({"contract": True}, "neither a dict nor False"),
        ({"contract": {"step": ["a"]}}, r"the key 'step': did you mean 'steps'\?"),
        ({"contract": {"steps": "divide"}}, "is not a list of texts"),
        ({"contract": {"ranges": {"x": [1]}}}, "is not the smallest and largest value of inputs"),
        ({"contract": {"settings": {"threshold": "half"}}}, "is not finite numbers by name"),
        ({"contract": {"settings": {"threshold": float("nan")}}}, "is not finite numbers by name"),
        ({"contract": {"ranges": {"x": [3, 1]}}}, "is not the smallest and largest value of inputs"),
        ({"contract": {"ranges": {"x": [0, float("inf")]}}}, "is not the smallest and largest value of inputs"),
        ({"contract": {"ranges": {"x": [0, 10**400]}}}, "is not the smallest and largest value of inputs"),
    ],
)
def test_invalid_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ONNXExport(**options)


def test_valid_options() -> None:
    assert check_given(None, False) is None
    found = check_given(["a", "b"], {"steps": ["divide"], "ranges": {"x": [0, 1]}, "settings": {"threshold": 1}})
    assert found is not None
    assert (found.labels, found.steps) == (("a", "b"), ("divide",))
    assert (found.ranges, found.settings) == ({"x": (0.0, 1.0)}, {"threshold": 1.0})
