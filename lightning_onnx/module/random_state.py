"""The random states of Python, numpy and torch that everything in the process shares, and generators of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils._python_dispatch import TorchDispatchMode

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


@contextlib.contextmanager
def random_states_kept_for_training() -> Iterator[None]:
    """Restore the states after an export, except torch's if other threads draw from it: they would draw numbers again.

    Where others draw from a state, it gives no reproducible numbers to this thread either.
    """
    if not _others_draw():
        with random_states_kept():
            yield
        return
    token = _beside_others.set(True)
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    others = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        _beside_others.reset(token)
        np.random.set_state(others[0])
        random.setstate(others[1])
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)


@dataclasses.dataclass
class Draws:
    """What a call drew.

    Attributes:
        has_drawn: Whether it drew from a shared state; known after the call.
    """

    has_drawn: bool = False


@contextlib.contextmanager
def random_states_kept_by_call() -> Iterator[Draws]:
    """Restore the states that the block draws from, but not what other threads draw from torch meanwhile."""
    draws = Draws()
    if not _beside_others.get():
        with random_states_kept(include_cuda=False):
            before = random_states()
            yield draws
            draws.has_drawn = before != random_states()
        return
    before, states = random_states(), (torch.get_rng_state(), np.random.get_state(), random.getstate())
    mode = _Seen()  # type: ignore[no-untyped-call]
    try:
        with mode:
            yield draws
    finally:
        after = random_states()
        draws.has_drawn = mode.has_drawn or before[1:] != after[1:]
        if mode.has_drawn:
            torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes whether an operator of this thread draws random numbers."""

    supports_higher_order_operators = True  # such as torch.cond
    has_drawn = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> object:
        """Run an operator."""
        self.has_drawn |= torch.Tag.nondeterministic_seeded in getattr(func, "tags", ())
        return func(*args, **(kwargs or {}))


_beside_others: ContextVar[bool] = ContextVar("_beside_others", default=False)

_WAIT = 0.05
"""Seconds in which another thread that draws random numbers is likely to draw one."""


def _others_draw() -> bool:
    """Tell whether torch's state changes while this thread waits."""
    if threading.active_count() == 1:
        return False
    before = torch.get_rng_state()
    time.sleep(_WAIT)
    return not torch.equal(before, torch.get_rng_state())


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
