"""The branches that code takes."""

from __future__ import annotations

import sys

import pytest

from lightning_onnx.errors import EndlessLoop
from lightning_onnx.module.decisions.branches import Branch, BranchRecorder


def short(number: float) -> int:
    return 1 if number > 3 else 2


def looks_up(number: float) -> int:
    return 1 if round(number) in {2: "two"} else 2


def loops(number: float) -> int:
    total = 0
    for _ in range(int(number)):
        total += 1
    return total


def branches(function: object, number: float) -> list[Branch]:
    assert callable(function)
    with BranchRecorder() as recorder:
        function(number)
    return recorder.branches


def test_branches_on_one_line_by_a_table_and_of_a_loop_differ_by_the_number() -> None:
    for function in (short, looks_up, loops):
        assert branches(function, 2.0) == branches(function, 2.0)
        assert branches(function, 2.0) != branches(function, 7.0)


def test_branches_are_reported_by_file_and_line() -> None:
    (line, _, _, _) = branches(short, 1.0)[0]
    assert line == f"test_branches.py:{short.__code__.co_firstlineno + 1}"


def test_the_steps_of_a_loop_are_counted_and_limited() -> None:
    head = f"test_branches.py:{loops.__code__.co_firstlineno + 2}"
    with BranchRecorder(limit=100) as recorder:
        loops(7)
    assert recorder.steps == {head: 7}
    with pytest.raises(EndlessLoop, match=f"the loop at {head} does not end"), BranchRecorder(limit=100):
        loops(1e9)


def test_an_earlier_trace_function_is_put_back() -> None:
    before = sys.gettrace()
    try:
        sys.settrace(trace := lambda frame, event, arg: None)
        with BranchRecorder():
            pass
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)


def test_nothing_is_recorded_of_torch() -> None:
    import torch

    with BranchRecorder() as recorder:
        torch.nn.functional.interpolate(torch.zeros(1, 1, 4, 4), scale_factor=2.0)
    assert all(line.startswith("test_branches.py") for line, _, _, _ in recorder.branches)
