"""Programs are timed in turns."""

from __future__ import annotations

from typing import Any

from lightning_onnx.checks.timing import in_turns

QUICK: dict[str, Any] = {"seconds": 0.02, "batch_sizes": (1, 3)}


def test_turns_are_interleaved() -> None:
    order: list[str] = []

    class Program:
        def __init__(self, name: str) -> None:
            self.name = name

        def timed(self, inputs: Any, calls: int) -> list[float]:
            order.append(self.name)
            return [0.01] * calls

    took = in_turns({"a": Program("a"), "b": Program("b")}, {}, seconds=1.0)
    assert order == ["a", "b"] * 11  # one to warm up
    assert [len(seconds) for seconds in took.values()] == [100, 100]
