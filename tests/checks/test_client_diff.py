"""What clients notice when another artifact replaces theirs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from lightning_onnx.artifacts import foreign
from lightning_onnx.checks.client_diff import changed_meaning, incompatible, meaning
from lightning_onnx.manifest.contract import Contract, InputContract, OutputContract, Step
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.calls.signature import Signature, SizeRange, TensorSpec

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0" / "artifact" / "manifest.json"
SCALED = Step("ToDtype(scale=True)", "divide by 255")
CONTRACT = Contract(
    {"x": InputContract("float32", (0.0, 1.0))},
    {"y": OutputContract(("cat", "dog", "owl"), "scores", 1, "softmax")},
    (SCALED,),
    {"threshold": 0.5},
)


def record(
    inputs: dict[str, Any] | None = None,
    outputs: dict[str, Any] | None = None,
    contract: Contract | None = None,
    **ranges: SizeRange,
) -> Manifest:
    """Return a manifest with an input x of any size and an output y of 3, or those given as (dtype, *shape)."""
    specs = [
        tuple(TensorSpec(name, dtype, shape) for name, (dtype, *shape) in own.items())
        for own in (inputs or {"x": ("float32", "batch", 4)}, outputs or {"y": ("float32", "batch", 3)})
    ]
    specs = [tuple(dataclasses.replace(spec, shape=tuple(spec.shape)) for spec in own) for own in specs]
    signature = Signature(specs[0], specs[1], (), ranges)
    golden = Manifest.from_dict(foreign.read_json(GOLDEN))
    return dataclasses.replace(golden, signature=signature, contract=contract)


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (record({"x": ("float64", "batch", 4)}), "input x is float64 instead of float32"),
        (record({"x": ("float32", 4)}), "input x has 1 dims instead of 2"),
        (record({"x": ("float32", "batch", 5)}), "dim 1 of input x is 5 instead of 4"),
        (record({"x": ("float32", 1, 4)}), "dim 0 of input x takes only 1 instead of 1 or more"),
        (record(batch=SizeRange(1, 16)), "dim 0 of input x takes 1 to 16 instead of 1 or more"),
        (record({"x": ("float32", "batch", 4), "mask": ("bool", "batch")}), "input mask is new"),
        (record(outputs={"y": ("int64", "batch", 3)}), "output y is int64 instead of float32"),
        (record(outputs={"y": ("float32", "batch", 4)}), "dim 1 of output y is 4 instead of 3"),
        (record(outputs={"z": ("float32", "batch", 3)}), "output y is missing"),
    ],
)
def test_another_signature(second: Manifest, why: str) -> None:
    assert incompatible(record(), second) == [why]


def test_what_clients_do_not_notice() -> None:
    renamed = record({"x": ("float32", "n", "m")}, {"y": ("float32", "n", 3), "features": ("float32", "n", 8)})
    assert incompatible(record(), renamed) == []
    assert incompatible(record(batch=SizeRange(2, 8)), record(batch=SizeRange(1, 16))) == []
    assert incompatible(record(contract=CONTRACT), record()) == []
    other = dataclasses.replace(CONTRACT, settings={"threshold": 0.9})
    assert incompatible(record(contract=CONTRACT), record(contract=other)) == []


def test_outputs_in_another_order() -> None:
    y, z = ("float32", "batch", 3), ("float32", "batch", 3)
    both = record(outputs={"y": y, "z": z})
    assert incompatible(both, record(outputs={"z": z, "y": y})) == ["the outputs have another order"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"labels": ("cat", "owl", "dog")},
            "the class names of output y have another order: class 1 is owl instead of dog, class 2 is dog instead of "
            "owl",
        ),
        ({"labels": ("cat", "hound", "owl")}, "the class names of output y differ: class 1 is hound instead of dog"),
        ({"labels": ("cat", "dog")}, "output y has 2 class names instead of 3"),
        ({"kind": "probabilities", "activation": None}, "output y holds probabilities instead of scores"),
        ({"activation": "sigmoid"}, "the activation of output y is sigmoid instead of softmax"),
        ({"axis": 2}, "the classes of output y are in dim 2 instead of 1"),
    ],
)
def test_another_meaning_of_an_output(change: dict[str, Any], why: str) -> None:
    output = dataclasses.replace(CONTRACT.outputs["y"], **change)
    second = dataclasses.replace(CONTRACT, outputs={"y": output})
    assert incompatible(record(contract=CONTRACT), record(contract=second)) == [why]


def test_other_steps_of_the_caller() -> None:
    fused = dataclasses.replace(CONTRACT, steps=(dataclasses.replace(SCALED, in_graph=True),))
    assert incompatible(record(contract=CONTRACT), record(contract=fused)) == [
        "the caller has to do other steps: nothing instead of divide by 255"
    ]


def test_all_that_differs_is_told() -> None:
    second = dataclasses.replace(CONTRACT, inputs={}, settings={"threshold": 0.9}, steps=())
    assert changed_meaning(meaning(CONTRACT), meaning(second)) == {
        "steps of the caller": (["divide by 255"], []),
        "range of x": ([0.0, 1.0], None),
        "setting threshold": (0.5, 0.9),
    }
    assert changed_meaning(meaning(CONTRACT), meaning(CONTRACT)) == {}
