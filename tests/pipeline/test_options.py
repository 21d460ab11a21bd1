"""Every option says early what is wrong with a value, what was given, and what was probably meant."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import ConfigurationError, Float16, Latency, MetricParity, ONNXExport, Parity, RuntimeParity

OPTIONS = [name for name in inspect.signature(ONNXExport.__init__).parameters if name != "self"]
WRONG: list[Any] = [3, -1.5, "nothing / like this", b"x", object(), object, [3], [None], {3: 4}, {"x": 3}, {1}]


@pytest.mark.parametrize("option", OPTIONS)
def test_wrong_values_are_errors_of_configuration_or_taken(option: str) -> None:
    """Never a TypeError from deep within; ``sample`` takes anything, and what is text may be any text."""
    refused = 0
    for value in WRONG:
        try:
            ONNXExport(**{option: value})
        except ConfigurationError as error:
            refused += 1
            assert len(str(error)) < 1000
        except Exception as error:
            raise AssertionError(f"{option}={value!r}: {type(error).__name__}: {error}") from error
    assert refused or option == "sample"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 18}, "no option 'opset': did you mean 'opset_version'?"),
        ({"dynamic_shapes": {}}, "did you mean 'dynamic_axes'?"),
        ({"varients": []}, "did you mean 'variants'?"),
        ({"zzz": 1}, "no option 'zzz'. Choose from assets, background"),
        ({"when": "chekpoint"}, "is invalid: did you mean 'checkpoint'?"),
        ({"checks": [Parity]}, "checks has the class Parity instead of an object. Call it: Parity()."),
        ({"variants": [Float16]}, "Call it: Float16()."),
        ({"checks": Parity()}, "is not a list. Put it into one: checks=[...]."),
        ({"checks": ["parity"]}, "checks has 'parity', which does not fit. Give one such as Parity()."),
        ({"variants": "int8"}, "is not a list of variants. Give one such as [Float16()]."),
        ({"runtimes": "openvino"}, "Give a list: runtimes=['openvino']."),
        ({"exclude_inputs": "labels"}, "Give a list: exclude_inputs=['labels']."),
        ({"dirpath": 3}, "dirpath=3 is not a path"),
        ({"runtimes": ["openvin"]}, "'openvin' is not a runtime: did you mean 'openvino'?"),
        ({"dynamic_axes": {"x": 0}}, "{'x': {0: 'batch'}}"),
    ],
)
def test_messages(options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ONNXExport(**options)
    assert message in str(caught.value)


def test_options_of_a_subclass() -> None:
    class Own(ONNXExport):
        def __init__(self, size: int, **options: Any) -> None:
            super().__init__(**options)
            self.size = size

    assert Own(3, opset_version=18).size == 3
    with pytest.raises(ConfigurationError, match="did you mean 'opset_version'"):
        Own(3, opset=18)


def test_other_objects_take_lists_of_runtimes() -> None:
    for make in (Latency, RuntimeParity):
        with pytest.raises(ConfigurationError, match=r"Give a list: runtimes=\['openvino'\]"):
            make(runtimes="openvino")
    with pytest.raises(ConfigurationError, match="Give sizes"):
        Latency(batch_sizes=1)  # type: ignore[arg-type]


class Two(nn.Module):
    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return ids * lengths


def test_arguments_of_export(tmp_path: Path) -> None:
    ids, lengths = torch.ones(2, 3), torch.ones(2, 1)
    made: Any = lightning_onnx.export
    with pytest.raises(ConfigurationError, match=r"one tuple, but got 2 of them. Write export\(module, \(first, sec"):
        made(Two(), ids, lengths, directory=tmp_path / "a")
    with pytest.raises(ConfigurationError, match="got 3 of them"):
        made(Two(), ids, lengths, 3, directory=tmp_path / "a")
    with pytest.raises(ConfigurationError, match="did you mean 'opset_version'"):
        made(Two(), (ids, lengths), directory=tmp_path / "a", opset=18)
    with pytest.raises(ConfigurationError, match=r"no such method: did you mean 'forward'\?"):
        made(Two(), (ids, lengths), directory=tmp_path / "a", method="forwrad")
    with pytest.raises(ConfigurationError, match=r"takes a torch.nn.Module, got type. Make one: Two\(...\)"):
        made(Two, (ids, lengths), directory=tmp_path / "a")


def names(callback: ONNXExport) -> list[str]:
    return [check.name for check in callback.config.checks]


def test_a_list_without_parity_replaces_it_with_a_warning() -> None:
    with pytest.warns(FutureWarning, match="default_checks=False to keep what this list does now") as caught:
        assert names(ONNXExport(checks=[MetricParity()])) == ["metrics"]
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names(ONNXExport()) == ["parity"]
        assert names(ONNXExport(checks=[Parity(rtol=1e-3), MetricParity()])) == ["parity", "metrics"]
        assert names(ONNXExport(checks=[MetricParity()], default_checks=False)) == ["metrics"]
        assert names(ONNXExport(checks=[MetricParity()], default_checks=True)) == ["parity", "metrics"]
        assert names(ONNXExport(checks=[], default_checks=False)) == []
    with pytest.raises(ConfigurationError, match="default_checks"):
        ONNXExport(default_checks="yes")  # type: ignore[arg-type]
