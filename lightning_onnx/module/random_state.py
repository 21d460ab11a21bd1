"""The random states of Python, numpy and torch that everything in the process shares, and generators of their own."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from lightning_onnx.module.saved import Generator


@contextlib.contextmanager
def random_states_kept(include_cuda: bool = True) -> Iterator[None]:
    """Restore the states afterwards, even after an exception; Lightning's ``isolate_rng`` does not do that.

    Args:
        include_cuda: Whether to restore the states of CUDA devices as well.
    """
    error: BaseException | None = None
    with isolate_rng(include_cuda):
        try:
            yield
        except BaseException as raised:
            error = raised
    if error is not None:
        raise error


def advance(generators: Iterable[Generator]) -> None:
    """Draw a number from the shared states and from each generator: what is drawn next is something else."""
    torch.rand(1), np.random.random(), random.random()
    for generator in generators:
        if isinstance(generator, torch.Generator):
            torch.rand(1, generator=generator, device=generator.device)
        else:
            generator.random()


def random_states() -> tuple[object, ...]:
    """Return the states that change when a number is drawn on the CPU.

    No Python code of numpy runs: it would count as code of the method in which decisions are recorded.
    """
    return torch.get_rng_state().numpy().tobytes(), _plain(np.random.get_state(legacy=False)), random.getstate()


def _plain(state: Any) -> object:
    """Return a state of numpy in a form that can be compared."""
    if isinstance(state, dict):
        return [_plain(value) for value in state.values()]
    return state.tobytes() if isinstance(state, np.ndarray) else state
