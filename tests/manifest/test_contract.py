from __future__ import annotations

import json
from typing import Any

import pytest

from lightning_onnx import ArtifactError
from lightning_onnx.manifest.contract import Contract, InputContract, OutputContract, Step, Tokenizer
from lightning_onnx.manifest.fields import Fields

WHOLE = Contract(
    {"images": InputContract("uint8", (0.0, 255.0)), "mask": InputContract("bool")},
    {"logits": OutputContract(("a", "b"), "scores", 1, "softmax"), "classes": OutputContract(("a", "b"), "indices")},
    (Step("ToTensor()", "divide by 255"), Step("Pad(2)", "apply Pad(2)", in_graph=True)),
    {"threshold": 0.5},
    Tokenizer("bert-base-uncased", "BertTokenizer", 512, 30522),
    "datamodule.classes",
)


@pytest.mark.parametrize("contract", [WHOLE, Contract()])
def test_json_is_the_same_there_and_back(contract: Contract) -> None:
    text = json.dumps(contract.to_dict())
    assert Contract.read(Fields(json.loads(text), "contract")) == contract
    assert json.loads(text)["instruction"] == contract.instruction


def test_the_sentence_leaves_out_what_the_graph_does() -> None:
    expected = "Before the model: tokenize with bert-base-uncased to at most 512 tokens, divide by 255."
    assert WHOLE.instruction == expected


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("inputs", "images", "range"), [1.0], r"contract\.inputs\.images\.range has 1 numbers, expected 2"),
        (("outputs", "logits", "kind"), "logits", r"contract\.outputs\.logits\.kind is 'logits', expected one of"),
        (("outputs", "logits", "activation"), "relu", r"activation is 'relu', expected one of"),
        (("outputs", "logits", "labels"), [1], r"labels\[0\] is 1, expected text"),
        (("steps",), [{}], r"contract\.steps\[0\]\.transform is missing"),
        (("tokenizer", "max_length"), "long", r"contract\.tokenizer\.max_length is 'long', expected an integer"),
    ],
)
def test_a_damaged_field_is_named(place: tuple[str, ...], value: object, message: str) -> None:
    damaged: Any = json.loads(json.dumps(WHOLE.to_dict()))
    part = damaged
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises(ArtifactError, match=message):
        Contract.read(Fields(damaged, "contract"))
