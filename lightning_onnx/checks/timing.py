"""Measures how long programs take, in turns, so that a temporary slowdown of the machine affects all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from lightning_onnx.runtimes.base import Arrays

ROUNDS = 10
_WARM_UP = 3
_MOST_CALLS = 1000  # in a round


class Timed(Protocol):
    """A program that runs a model and measures itself, so that the transfer of inputs is not measured."""

    def timed(self, inputs: Arrays, calls: int) -> list[float]:
        """Run ``calls`` times, and return the duration of each call in seconds."""


def in_turns(programs: Mapping[str, Timed], inputs: Arrays, seconds: float) -> dict[str, list[float]]:
    """Measure programs on the same inputs.

    Args:
        programs: The programs; their first calls are not counted.
        inputs: Inputs by name.
        seconds: Approximate measuring time of each program; at least one call in each of ``ROUNDS`` rounds.

    Returns:
        The durations of the calls in seconds, by program.
    """
    calls = {}
    for name, program in programs.items():
        warm = min(program.timed(inputs, _WARM_UP))
        calls[name] = max(1, min(_MOST_CALLS, round(seconds / ROUNDS / max(warm, 1e-6))))
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, program in programs.items():
            found[name] += program.timed(inputs, calls[name])
    return found


def latency_ratio(program: Timed, baseline: Timed, inputs: Arrays, seconds: float = 0.3) -> float:
    """Return the median time of a program's calls divided by another's, with three digits.

    Args:
        program: The program.
        baseline: The program to compare with.
        inputs: Inputs by name.
        seconds: Approximate measuring time of each of the two.
    """
    took = in_turns({"baseline": baseline, "program": program}, inputs, seconds)
    return float(f"{np.median(took['program']) / np.median(took['baseline']):.3g}")
