"""What a function writes outside of itself is read from its code."""

from __future__ import annotations

import heapq
from typing import Any

import pytest

from lightning_onnx.module.weights.written import Written, written_by

ITEMS: list[Any] = []
TABLE: dict[str, Any] = {}
TOTAL = 0


def appends() -> None:
    ITEMS.append(1)


def appends_inside() -> None:
    TABLE.get("a", []).append(1)


def adds_to_an_entry() -> None:
    TABLE["a"] += 1


def deletes() -> None:
    del ITEMS[:-3]


def pushes() -> None:
    heapq.heappush(ITEMS, 1)


def names_it_otherwise() -> None:
    items = ITEMS
    items[0] = 1


def nested() -> Any:
    return lambda: ITEMS.append(1)


def counts() -> None:
    global TOTAL
    TOTAL += 1


def reads() -> Any:
    return ITEMS[0] + len(ITEMS) + TOTAL


def stores_what_it_reads() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["a"] = TABLE["a"]
    found.update(TABLE)
    return found


def calls() -> None:
    appends()


WRITES = [appends, appends_inside, adds_to_an_entry, deletes, pushes, names_it_otherwise, nested, counts]


@pytest.mark.parametrize("function", WRITES)
def test_writes_are_found(function: Any) -> None:
    assert {name for _, name in written_by(function)} <= {"ITEMS", "TABLE", "TOTAL"}
    assert list(written_by(function))


@pytest.mark.parametrize("function", [reads, stores_what_it_reads])
def test_reads_are_not_taken_for_writes(function: Any) -> None:
    assert list(written_by(function)) == []


def test_all_functions_that_see_what_is_written_are_found() -> None:
    found = Written([("calls", calls), ("reads", reads), ("other", stores_what_it_reads)], [])
    assert {f.__name__ for f in found.seeing.values()} == {"calls", "appends", "reads"}


def test_methods_of_the_training_loop_are_left_alone() -> None:
    assert not Written([("training_step", appends), ("forward", reads)], []).keys
