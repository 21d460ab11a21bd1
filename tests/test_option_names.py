"""Unknown options of checks and variants."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from lightning_onnx import (
    ConfigurationError,
    Float16,
    Int4,
    Int8,
    Latency,
    MetricParity,
    ONNXExport,
    Parity,
    RuntimeParity,
    Simplified,
)
from lightning_onnx.variants.pt2 import PT2


@pytest.mark.parametrize(
    ("make", "option", "meant"),
    [
        (Int8, "max_metric_drops", "max_metric_drop"),
        (Int8, "max_drop", "max_metric_drop"),
        (MetricParity, "tolerance", "tolerances"),
        (ONNXExport, "input_name", "input_names"),
    ],
)
def test_the_option_that_was_meant_is_named_and_no_other(make: Any, option: str, meant: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        make(**{option: 0.1})
    assert str(error.value) == f"{make.__name__} has no option {option!r}: did you mean {meant!r}?"


@pytest.mark.parametrize("make", [Float16, Int4, Int8, PT2, Simplified, Parity, MetricParity, Latency, RuntimeParity])
def test_all_options_are_listed_if_none_is_similar(make: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{make.__name__} has no option 'zzz'. Choose from "):
        make(zzz=1)
    assert "zzz" not in inspect.signature(make).parameters
    assert make() == make()
