"""Inputs of methods that take the whole batch have the names of its parts."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx.module.calls.batch_parts import named_by_parts
from lightning_onnx.module.calls.nested import flatten


class Pair(NamedTuple):
    image: Tensor
    depth: Tensor


@dataclasses.dataclass
class Scene:
    image: Tensor
    pair: tuple[Tensor, Tensor]


class Steps(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, rows: Any, batch: Any = None) -> Any:
        return self.layer(rows)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        x, y = batch
        return self.layer(x) + self.layer(y)

    def test_step(self, given: Any) -> Any:
        return self(given[0])

    def validation_step(self, *args: Any) -> Any:
        return self.predict_step(args[0], 0)

    def embed(self, batch: Any, scale: Any) -> Any:
        return self(batch[0]) * scale

    def rank(self, first: Any, second: Any) -> Any:
        x, y = first
        return x + y + second


A, B = torch.zeros(2, 3), torch.ones(2, 3)


def names(arguments: dict[str, object], method: str, kind: type[nn.Module] = Steps) -> list[str]:
    return ["_".join(path) for path in named_by_parts(kind(), method, flatten(arguments)[0].paths)]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ({"tokens": A, "mask": B}, ["tokens", "mask"]),
        ({"pair": (A, B)}, ["pair_0", "pair_1"]),
        ({0: A, 1: B}, ["x", "y"]),
        ({"left": {"image": A}, "right": {"image": B}}, ["left_image", "right_image"]),
        (Pair(A, B), ["image", "depth"]),
        (Scene(A, (A, B)), ["image", "pair_0", "pair_1"]),
        ((A, B), ["x", "y"]),
        ([A, B], ["x", "y"]),
        ((A, B, A), ["x", "y", "batch_2"]),
        (({"ids": A, "mask": A}, B), ["x_ids", "x_mask", "y"]),
        (((A, A), B), ["x_0", "x_1", "y"]),
        (A, ["batch"]),
    ],
)
def test_names_of_a_batch(batch: object, expected: list[str]) -> None:
    assert names({"batch": batch, "batch_idx": 0}, "predict_step") == expected


def test_the_batch_is_the_first_argument_of_a_step_whatever_its_name() -> None:
    assert names({"given": {"tokens": A}}, "test_step") == ["tokens"]
    assert names({"given": (A, B)}, "test_step") == ["rows", "given_1"]
    assert names({"args": ((A, B), 0)}, "validation_step") == ["x", "y"]
    assert names({"args": (A, B)}, "validation_step") == ["batch", "args_1"]


def test_other_methods_take_it_as_the_parameter_batch() -> None:
    assert names({"batch": (A, B), "scale": A}, "embed") == ["rows", "batch_1", "scale"]
    assert names({"batch": {"scale": B}, "scale": A}, "embed") == ["scale", "scale"]
    assert names({"first": (A, B), "second": A}, "rank") == ["first_0", "first_1", "second"]


def test_inputs_of_forward_keep_their_names() -> None:
    assert names({"rows": A, "batch": {"tokens": B}}, "forward") == ["rows", "batch_tokens"]


def test_lightnings_own_predict_step_has_the_names_of_forward() -> None:
    class Unpacks(LightningModule):
        def forward(self, pair: Any) -> Any:
            left, right = pair
            return left + right

    assert names({"args": (A,)}, "predict_step", Unpacks) == ["pair"]
    assert names({"args": ((A, B),)}, "predict_step", Unpacks) == ["left", "right"]
    assert names({"args": ({"ids": A},)}, "predict_step", Unpacks) == ["ids"]


@pytest.mark.slow
def test_the_file_has_the_names_and_takes_the_method_s_arguments(tmp_path: Any) -> None:
    module = Steps()
    artifact = lightning_onnx.export(module, [(A, B), 0], directory=tmp_path / "a", method="predict_step")
    assert str(artifact.signature) == "(x: float32[batch, 3], y: float32[batch, 3]) -> (output: float32[batch, 2])"
    expected = (module.layer(A) + module.layer(B)).detach()
    torch.testing.assert_close(torch.tensor(artifact.run((A, B))), expected)
    assert artifact.passed

    class Alike(Steps):
        def embed(self, batch: Any, scale: Any) -> Any:
            return self.layer(batch["scale"]) * scale

    artifact = lightning_onnx.export(
        Alike(), ({"scale": A}, torch.ones(2, 2)), directory=tmp_path / "b", method="embed", dynamic_axes=None
    )
    assert [spec.name for spec in artifact.signature.inputs] == ["scale", "scale_1"]
