"""The cases on which a graph is tried."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from lightning_onnx.module.calls.request import derive
from lightning_onnx.module.cases import Case
from lightning_onnx.module.probing import cases_of, multiples, observed_cases, probe_sizes
from tests.module.calls.observing import Applies, observed, runner_of


def tried(function: Any, *shapes: tuple[int, ...]) -> tuple[Any, Any]:
    """Return the request and the runner of a module that was called with these shapes; the batch is the first dim."""
    module = Applies(function)
    observation = observed(module, *[(torch.randn(s),) for s in shapes], batch_sizes=tuple(s[0] for s in shapes))
    run = runner_of(module, observation)
    return derive(observation, run), run


def labels(cases: tuple[Case, ...], kind: str) -> list[str]:
    return [case.label for case in cases if case.kind == kind]


def test_cases_of_each_kind_with_the_modules_outputs() -> None:
    request, run = tried(lambda x: x * 2, (8, 5), (8, 7))
    cases = cases_of(request, run)
    assert cases[0].label == "traced (batch=2, tensors_0_dim_1=5)"
    assert labels(cases, "observed") == [
        "observed (batch=8, tensors_0_dim_1=5)",
        "observed (batch=4, tensors_0_dim_1=7)",
    ]
    assert "resized (batch=3, tensors_0_dim_1=5)" in labels(cases, "resized")
    assert len({case.label for case in cases}) == len(cases)
    for case in cases:
        assert case.expected is not None
        assert torch.equal(case.expected[0], case.tensors[0] * 2)


def test_observed_cases_are_those_of_all_cases() -> None:
    request, run = tried(lambda x: x * 2, (8, 5), (8, 7), (2, 5))
    everything = [case.label for case in cases_of(request, run) if case.kind == "observed"]
    assert [case.label for case in observed_cases(request, run)] == everything
    assert len(everything) == 2


def test_other_values_at_the_traced_sizes() -> None:
    cases = cases_of(*tried(lambda x: x * 2, (8, 5), (6, 5)))
    assert labels(cases, "traced") == ["traced (batch=2)", "traced with values of call 2"]


def test_of_a_batch_that_costs_too_much_fewer_rows_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_onnx.module.cost._MOST_ELEMENTS", 6 * 5)
    cases = cases_of(*tried(lambda x: x * 2, (8, 5)))
    assert labels(cases, "observed") == ["observed (batch=6)"]


def test_sizes_that_the_module_refuses_are_not_cases() -> None:
    request, run = tried(lambda x: x.reshape(len(x), 3, -1) * 2, (4, 6), (4, 9))
    assert all(case.tensors[0].shape[1] % 3 == 0 for case in cases_of(request, run))
    assert list(multiples(request, run)) == ["tensors_0_dim_1 is a multiple of 3"]


def test_sizes_above_below_and_at_one() -> None:
    request, _ = tried(lambda x: x * 2, (4, 64), (4, 96))
    sizes = {s["tensors_0_dim_1"] for alternatives in probe_sizes(request) for s in alternatives}
    assert {128, 97, 192, 48, 1} <= sizes


@pytest.mark.parametrize("lengths", [(9, 8, 10), (7, 10), (8, 12), (8,)])
def test_odd_and_even_sizes_are_tried(lengths: tuple[int, ...]) -> None:
    """Code that is wrong at even sizes only, such as a transposed convolution, is found at whatever size was traced."""
    request, _ = tried(lambda x: x * 2, *((4, length) for length in lengths))
    request = dataclasses.replace(request, axes=({0: "batch", 1: "length"},), seen={"length": tuple(sorted(lengths))})
    tried_first = [next(iter(alternatives))["length"] for alternatives in probe_sizes(request)]
    assert {n % 2 for n in tried_first if n > 1} == {0, 1}
    assert len({n for n in tried_first if n not in (1, lengths[0])}) >= 2


def test_expensive_calls_are_tried_at_fewer_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    request, run = tried(lambda x: x * 2, (4, 64, 8), (4, 96, 9))
    several = labels(cases_of(request, run), "resized")
    monkeypatch.setattr("lightning_onnx.module.probing.affordable_cases", lambda run, tensors: 4)
    few = labels(cases_of(request, run), "resized")
    first, second = "tensors_0_dim_1", "tensors_0_dim_2"
    assert few == [
        f"resized (batch=3, {first}=64, {second}=8)",
        f"resized (batch=1, {first}=64, {second}=8)",
        f"resized (batch=2, {first}=97, {second}=8)",
        f"resized (batch=2, {first}=64, {second}=10)",
        f"resized (batch=3, {first}=128, {second}=10)",
    ]
    assert len(several) > len(few)


def test_no_call_is_made_for_a_multiple_that_known_sizes_rule_out() -> None:
    request, run = tried(lambda x: x * 2, (4, 64), (4, 96))
    name = "tensors_0_dim_1"
    calls = len(run._known)
    assert not list(multiples(request, run, [{"batch": 2, name: 97}]))
    assert len(run._known) == calls
    assert not list(multiples(request, run, [{"batch": 2, name: 96}]))
    assert len(run._known) == calls + 1


def test_a_static_module_is_tried_as_traced() -> None:
    cases = cases_of(*tried(lambda x: x.reshape(4, 3) * 2, (4, 3)))
    assert [case.label for case in cases if case.kind != "values"] == ["traced"]
