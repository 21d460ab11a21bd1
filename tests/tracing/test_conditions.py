"""Conditions on sizes are read as torch writes them, and tell at which sizes a method may do something else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.tracing.captures.base import dynamic_shapes_of, export_program
from lightning_onnx.tracing.conditions import SizeCondition, only_at, parse, turning_points
from lightning_onnx.tracing.dims import dims_of
from tests.tracing.making import made

SYMBOLS = {"s0": "batch", "s1": "x_dim_1", "s2": "seq len"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Ne(Mod(s1, 4), 3)", "x_dim_1 % 4 != 3"),
        ("Eq((s1//2), s0)", "x_dim_1 // 2 == batch"),
        ("s2 <= 8", "seq_len <= 8"),
        ("Max(1, s0 - 3) < FloorDiv(s1, 2)", "Max(1, batch - 3) < x_dim_1 // 2"),
    ],
)
def test_what_torch_writes_is_read(written: str, read: str) -> None:
    found = parse(written, SYMBOLS)
    assert found is not None
    assert found.expression == read


@pytest.mark.parametrize(
    "written", ["u0 > 3", "s0 > 1.5", "ceiling(s0) > 2", "s0", "3 > 2", "s0 >", "__import__('os')"]
)
def test_what_is_of_other_things_is_left_out(written: str) -> None:
    assert parse(written, SYMBOLS) is None


def test_names_that_become_equal_are_left_out() -> None:
    assert parse("s0 < s1", {"s0": "a b", "s1": "a_b"}) is None
    assert parse("s0 < 3", {"s0": "batch", "s1": "batch"}) is not None


class Decides(nn.Module):
    """Does something else at many sizes."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] in (5, 11):
            x = x * 2
        if x.shape[1] % 4 == 3 or x.shape[0] == x.shape[1]:
            x = x.flip(1)
        return x + 1 if x.shape[0] <= 8 else x


def test_conditions_of_a_program() -> None:
    axes = ({0: "batch", 1: "length"},)
    flat, request = made(Decides(), torch.randn(2, 8), axes=axes)
    found = dims_of(export_program(flat, request.tensors, dynamic_shapes_of(axes)), request).conditions
    expressions = {c.expression for c in found}
    assert {"batch <= 8", "length != 5", "length != 11", "length % 4 != 3", "batch != length"} <= expressions
    sizes = {"batch": 2, "length": 8}
    assert {5, 7, 11, 2} <= set(turning_points(found, sizes, "length"))
    assert {8, 9} <= set(turning_points(found, sizes, "batch"))
    assert all(c.holds(sizes) for c in found)


def test_undefined_is_broken() -> None:
    condition = SizeCondition("6 % (n - 1) == 0", (("n", "length"),))
    assert condition.holds({"length": 3})
    assert not condition.holds({"length": 1})


def test_a_condition_that_excludes_one_size() -> None:
    assert only_at(SizeCondition("n != 5", (("n", "length"),)), {"length": 5, "batch": 2}) == "length"
    assert only_at(SizeCondition("n > 1", (("n", "length"),)), {"length": 1}) == "length"
    assert only_at(SizeCondition("n % 2 == 0", (("n", "length"),)), {"length": 5}) is None
    assert only_at(SizeCondition("n != m", (("n", "length"), ("m", "batch"))), {"length": 5, "batch": 5}) is None
