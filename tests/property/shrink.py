"""Makes a failing module smaller: the fewest steps with which it still fails in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from tests.property.program import Program, runs


def shrink(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Return the smallest program that still fails.

    Args:
        program: A program that fails.
        fails: Whether a program fails in the same way.
    """
    while True:
        smaller = next((p for p in _smaller(program) if p.is_valid and runs(p) and fails(p)), None)
        if smaller is None:
            return program
        program = smaller


def _smaller(program: Program) -> Iterator[Program]:
    """Yield smaller programs, smallest first."""
    lines = program.lines
    for kept in range(1, len(lines)):  # one step, two adjacent ones, ...
        for start in range(len(lines) - kept + 1):
            yield dataclasses.replace(program, lines=lines[start : start + kept])
    for i in range(len(lines) if len(lines) > 2 else 0):
        yield dataclasses.replace(program, lines=lines[:i] + lines[i + 1 :])
    if program.end != "return x":
        yield dataclasses.replace(program, end="return x")
    if len({tuple(sizes.items()) for sizes in program.observed}) > 2:
        first, second, _ = program.observed
        yield dataclasses.replace(program, observed=(first, first, second | {"batch": first["batch"] - 1}))
