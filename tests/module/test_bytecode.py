"""The names that code reads, except those that it only adds to."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_onnx.module.bytecode import assigned_none, computes_names, read_in, stored_globals

ITEMS: list[Any] = []
TOTAL = 0


class Writes:
    value: Any
    table: Any

    def counts(self) -> None:
        self.value += 1

    def appends(self) -> None:
        self.table.append(self.value)

    def stores(self) -> None:
        self.value = 1

    def stores_an_item(self) -> None:
        self.table["a"] = self.value

    def deletes(self) -> None:
        del self.table[:-3]

    def reads(self) -> Any:
        return self.value + len(self.table)

    def names(self) -> Any:
        return getattr(self, "value")  # noqa: B009

    def takes_out(self) -> Any:
        return self.table.pop()

    def appends_to_itself(self) -> None:
        self.table.append(self.table[-1])

    def sums_twice(self) -> None:
        self.value += self.value

    def decides(self) -> None:
        if self.value:
            self.table.append(1)


@pytest.mark.parametrize(
    ("code", "read"),
    [
        (Writes.counts, set()),
        (Writes.appends, {"value"}),
        (Writes.stores, set()),
        (Writes.stores_an_item, {"value"}),
        (Writes.deletes, set()),
        (Writes.reads, {"value", "table"}),
        (Writes.names, {"value"}),
        (Writes.takes_out, {"table"}),
        (Writes.appends_to_itself, {"table"}),
        (Writes.sums_twice, {"value"}),
        (Writes.decides, {"value"}),
    ],
)
def test_names_that_are_only_written_are_not_read(code: Any, read: set[str]) -> None:
    assert read_in(code.__code__) & {"value", "table"} == read


def test_globals_that_are_assigned_are_known() -> None:
    def count() -> None:
        global TOTAL
        TOTAL += 1
        ITEMS.append(1)

    assert stored_globals(count.__code__) == {"TOTAL"}
    assert "ITEMS" not in read_in(count.__code__)


@pytest.mark.parametrize(
    ("code", "computes"),
    [
        (lambda x: x.a, False),
        (lambda x: getattr(x, "a"), False),  # noqa: B009
        (lambda x: getattr(x, "a", x), False),
        (lambda x: getattr(x.b, "a", None), False),
        (lambda x, name: getattr(x, name), True),
        (lambda x, i: getattr(x, f"layer{i}"), True),
        (lambda x, i: getattr(x, "layer" + i), True),
        (lambda x, i: getattr(x, x.name), True),
        (lambda x: vars(x)["a"], True),
        (lambda x: x.__dict__["a"], True),
    ],
)
def test_names_that_code_computes_are_known(code: Any, computes: bool) -> None:
    assert computes_names(code.__code__) == computes


def test_attributes_that_begin_as_none_are_known() -> None:
    class Begins:
        def __init__(self, value: Any = None) -> None:
            self.a = None
            self.b = self.c = None
            self.d = value
            self.e, self.f = 1, [None]

    assert assigned_none(Begins.__init__.__code__) == {"a", "b", "c"}
