"""Loops that do not end are ended; those of observed calls are not."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_onnx.errors import EndlessLoop
from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.loops import LoopLimit, has_open_loop, heads_of
from tests.models import Calls


def until_small(x: Tensor) -> Tensor:
    while not x.abs().max() < 0.1:
        x = x / 2
    return x


def until_small_or_broken_off(x: Tensor) -> Tensor:
    for _ in itertools.count():
        if x.abs().max() < 0.1:
            break
        x = x / 2
    return x


def each_row(x: Tensor) -> Tensor:
    total = x.new_zeros(())
    for row in x:
        total = total + row.sum()
    return total


def one_by_one(x: Tensor) -> Tensor:
    total, row = x.new_zeros(()), 0
    while row < len(x):
        total = total + x[row].sum()
        row += 1
    return total


def flat_of(function: Callable[[Tensor], Tensor], x: Tensor) -> FlatModule:
    module = Calls(function).eval()
    return FlatModule(module, "forward", sample_of(module, "forward", ((x,), {})))


@pytest.mark.slow
@pytest.mark.parametrize("function", [until_small, until_small_or_broken_off])
@pytest.mark.parametrize("way", ["reference", "perturbed"])
def test_a_loop_that_does_not_end_on_other_values_is_ended(function: Callable[[Tensor], Tensor], way: str) -> None:
    x = torch.ones(3)
    flat = flat_of(function, x)
    flat.reference([x])
    with pytest.raises(EndlessLoop, match=r"test_loops.py:\d+ does not end"):
        getattr(flat, way)([x * torch.nan])
    assert sys.gettrace() is None
    assert torch.equal(flat.reference([x])[0], function(x))


def test_the_first_call_may_take_any_time_and_larger_ones_take_longer() -> None:
    x = torch.ones(6_000, 1)
    flat = flat_of(one_by_one, x)
    assert flat.reference([x])[0] == 6_000
    flat = flat_of(one_by_one, x[:4])
    flat.reference([x[:4]])
    assert flat.reference([x])[0] == 6_000


def test_only_loops_that_may_run_for_ever_are_counted() -> None:
    assert all(has_open_loop(f.__code__) for f in (until_small, until_small_or_broken_off, one_by_one))
    assert not has_open_loop(each_row.__code__)
    limit = LoopLimit()
    with limit.of_call([torch.ones(1)]):
        each_row(torch.ones(100, 1))
    assert limit.allowed(1) == limit.allowed(1_000_000)


def test_a_long_body_is_a_loop_too() -> None:
    body = "\n".join(f"        x = x + {n}.5" for n in range(400))
    found: dict[str, Callable[[Tensor], Tensor]] = {}
    exec(compile(f"def f(x):\n    for _ in x:\n{body}\n    return x\n", "made", "exec"), found)
    assert not has_open_loop(found["f"].__code__)
    assert set(heads_of(found["f"].__code__).values()) == {2}


def test_another_trace_function_stays() -> None:
    before = sys.gettrace()
    try:
        sys.settrace(trace := lambda frame, event, arg: None)
        with LoopLimit().of_call([torch.ones(1)]):
            assert sys.gettrace() is trace
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("function", [until_small, until_small_or_broken_off, each_row, one_by_one])
def test_the_head_of_a_loop_is_its_first_line(function: Callable[[Tensor], Tensor]) -> None:
    first = function.__code__.co_firstlineno + (1 if function in (until_small, until_small_or_broken_off) else 2)
    assert set(heads_of(function.__code__).values()) == {first}
