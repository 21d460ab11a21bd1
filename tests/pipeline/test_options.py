"""Every option says early what is wrong with a value, what was given, and what was probably meant."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import (
    PT2,
    ConfigurationError,
    Float16,
    Hub,
    Int4,
    Int8,
    Latency,
    MetricParity,
    ONNXExport,
    Parity,
    RuntimeParity,
    Simplified,
)  # fmt: skip

OPTIONS = [name for name in inspect.signature(ONNXExport.__init__).parameters if name != "self"]
WRONG: list[Any] = [3, -1.5, "nothing / like this", b"x", object(), object, [3], [None], {3: 4}, {"x": 3}, {1}]


@pytest.mark.parametrize("option", OPTIONS)
def test_wrong_values_are_errors_of_configuration_or_taken(option: str) -> None:
    """Never a TypeError from deep within; what is text may be any text."""
    refused = 0
    for value in WRONG:
        try:
            ONNXExport(**{option: value})
        except ConfigurationError as error:
            refused += 1
            assert len(str(error)) < 1000
        except Exception as error:
            raise AssertionError(f"{option}={value!r}: {type(error).__name__}: {error}") from error
    assert refused


OBJECTS = [Parity, MetricParity, Latency, RuntimeParity, Float16, Int8, Int4, PT2, Simplified, Hub]
FIELDS = [(kind, field.name) for kind in OBJECTS for field in dataclasses.fields(kind) if field.init]


@pytest.mark.parametrize(("kind", "option"), FIELDS)
def test_wrong_values_of_checks_and_variants_are_refused(kind: Any, option: str) -> None:
    others = {} if kind is not Hub or option == "repo_id" else {"repo_id": "user/name"}
    for value in (object(), object, [None], {3: 4}, {1}, b"x", float("nan")):
        with pytest.raises(ConfigurationError) as caught:
            kind(**{option: value}, **others)
        assert len(str(caught.value)) < 1000
        assert str(caught.value).count(".") >= 2, "what to do"


def test_wrong_numbers_and_texts_are_refused() -> None:
    for kind, options, message in [
        (Parity, {"rtol": "1e-3"}, r"Parity\(rtol='1e-3'\) is invalid\. Give a number of 0 or more\."),
        (Parity, {"atol": True}, r"Parity\(atol=True\) is invalid"),
        (MetricParity, {"tolerances": 0.1}, r"Give numbers of 0 or more by name, such as \{'val_loss': 0\.001\}"),
        (MetricParity, {"tolerances": {"val_loss": -1}}, "Give numbers of 0 or more"),
        (Latency, {"seconds": "1"}, r"Latency\(seconds='1'\) is invalid"),
        (Latency, {"precision": "Deploy"}, r"did you mean 'deploy'\? Choose one of 'float32', 'deploy'\."),
        (RuntimeParity, {"require": "openvino"}, r"is one string\. Give a tuple such as \('onnxruntime',\)\."),
        (RuntimeParity, {"parity": 1e-3}, r"Give one such as Parity\(\)"),
        (Float16, {"keep_float32": 4}, r"is not a list of strings\. Give a tuple such as \('Softmax',\)\."),
        (Int8, {"per_channel": 1}, r"Choose one of True, False\."),
    ]:  # fmt: skip
        with pytest.raises(ConfigurationError, match=message):
            kind(**options)


@pytest.mark.parametrize("sample", [3, "x", (1, 3, 224, 224), [], {"x": 3}])
def test_a_sample_has_tensors(sample: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"has no tensor\. Give the arguments of one call"):
        ONNXExport(sample=sample)


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
        ({"variants": "int8"}, "is one string. Give a list: variants=['int8']."),
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
    with pytest.raises(ConfigurationError, match=r"takes a torch.nn.Module, got dict. Give the module itself\."):
        made({}, (ids, lengths), directory=tmp_path / "a")
    with pytest.raises(ConfigurationError, match="directory=None is not a path"):
        made(Two(), (ids, lengths), directory=None)
    with pytest.raises(ConfigurationError, match="missing a required argument: 'ids'"):
        made(Two(), {"idz": ids, "lengths": lengths}, directory=tmp_path / "a")


@pytest.mark.slow
def test_a_dict_has_arguments_by_name(tmp_path: Path) -> None:
    ids, lengths = torch.ones(2, 3), torch.ones(2, 1)
    artifact = lightning_onnx.export(Two(), {"lengths": lengths, "ids": ids}, directory=tmp_path / "a")
    assert [spec.name for spec in artifact.signature.inputs] == ["ids", "lengths"]


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
