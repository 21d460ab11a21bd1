from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lightning_onnx import ConfigurationError, Signature, TensorSpec
from lightning_onnx.contract.find import Known, check_fits, find_contract, with_kinds
from lightning_onnx.contract.given import Given
from lightning_onnx.manifest.contract import Contract, Step


def signature(*outputs: tuple[str, str, tuple[Any, ...]]) -> Signature:
    image = TensorSpec("images", "float32", ("batch", 3, 8, 8))
    return Signature((image,), tuple(TensorSpec(*output) for output in outputs))


def found(given: Given, *outputs: tuple[str, str, tuple[Any, ...]], in_graph: Any = ()) -> Contract:
    seen = {"images": [torch.rand(2, 3, 8, 8).half()]}
    data = SimpleNamespace(classes=["a", "b", "c"], transform=SimpleNamespace(transforms=[nn.ReLU()]))
    return find_contract(given, Known(nn.Linear(1, 1), data, None, seen, in_graph, bool(in_graph)), signature(*outputs))


LOGITS = ("logits", "float32", ("batch", 3))


def test_what_is_found() -> None:
    contract = found(Given(), LOGITS, ("features", "float32", ("batch", 64)))
    assert contract.labels == ("a", "b", "c")
    assert contract.labels_from == "dataset.classes"
    assert list(contract.outputs) == ["logits"]
    assert (contract.outputs["logits"].axis, contract.outputs["logits"].activation) == (1, "softmax")
    assert (contract.inputs["images"].dtype, contract.inputs["images"].range) == ("float16", (0, 1))
    assert contract.instruction == "Before the model: apply ReLU()."
    assert contract.warning is not None
    assert "apply ReLU()" in contract.warning


def test_what_is_given_replaces_what_is_found() -> None:
    given = Given(("x", "y", "z"), ("divide by 255",), {"images": (0.0, 9.0)}, {"threshold": 0.5})
    contract = found(given, LOGITS)
    assert (contract.labels, contract.labels_from) == (("x", "y", "z"), "labels")
    assert contract.caller_steps == ("divide by 255",)
    assert contract.inputs["images"].range == (0.0, 9.0)
    assert contract.settings == {"threshold": 0.5}


@pytest.mark.parametrize(
    ("output", "axis", "kind"),
    [
        (("masks", "float32", ("batch", 3, "height", "width")), 1, "scores"),
        (("tokens", "float32", ("batch", "length", 3)), 2, "scores"),
        (("classes", "int64", ("batch",)), None, "indices"),
    ],
)
def test_where_the_classes_are(output: Any, axis: int | None, kind: str) -> None:
    (own,) = found(Given(), output, ("count", "int64", ("batch", 7))).outputs.values()
    assert (own.axis, own.kind) == (axis, kind)


def test_labels_that_are_given_fit_a_map_of_classes() -> None:
    mask, score = ("mask", "int64", ("batch", "height", "width")), ("score", "float32", ("batch", "height", "width"))
    assert list(found(Given(("sky", "road")), mask, score).outputs) == ["mask"]
    with pytest.raises(ConfigurationError, match="labels has 2 names, but no output has a dim of this size"):
        found(Given(("sky", "road")), mask, ("best", "int64", ("batch", 5)))


def test_labels_that_fit_no_output() -> None:
    assert found(Given(), ("features", "float32", ("batch", 64))).outputs == {}
    with pytest.raises(ConfigurationError, match=r"labels has 2 names, but no output has a dim of this size"):
        found(Given(("x", "y")), LOGITS)
    with pytest.raises(ConfigurationError, match=r"\['image'\], which are not inputs. The graph takes images"):
        found(Given(ranges={"image": (0.0, 1.0)}), LOGITS)


def test_what_is_given_can_be_checked_without_a_run() -> None:
    check_fits(Given(("x", "y", "z"), None, {"images": (0.0, 1.0)}), signature(LOGITS))
    with pytest.raises(ConfigurationError, match="labels has 2 names"):
        check_fits(Given(("x", "y")), signature(LOGITS))
    with pytest.raises(ConfigurationError, match="which are not inputs"):
        check_fits(Given(ranges={"image": (0.0, 1.0)}), signature(LOGITS))


def test_what_the_graph_does_is_not_left_to_the_caller() -> None:
    contract = found(Given(), LOGITS, in_graph=(Step("ToTensor()", "divide by 255", in_graph=True),))
    assert contract.caller_steps == ()
    assert (contract.instruction, contract.warning) == (None, None)
    assert [step.sentence for step in contract.steps] == ["divide by 255"]


def test_kinds_come_from_values() -> None:
    contract = found(Given(), LOGITS)
    scores = torch.tensor([[1.0, -2.0, 0.5]])
    assert with_kinds(contract, lambda: {"logits": scores}) == contract
    own = with_kinds(contract, lambda: {"logits": scores.softmax(1)}).outputs["logits"]
    assert (own.kind, own.activation) == ("probabilities", None)
    assert with_kinds(contract, lambda: {"logits": scores.sigmoid()}) == contract
    own = with_kinds(contract, lambda: {"logits": scores.sigmoid()}, ["logits"]).outputs["logits"]
    assert (own.kind, own.activation) == ("probabilities", None)
