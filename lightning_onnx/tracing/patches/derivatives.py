"""Whether a module calls autograd inside its method."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

_grad, _backward = torch.autograd.grad, torch.autograd.backward
_calls: ContextVar[list[str] | None] = ContextVar("_calls", default=None)


def grad(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """Call ``torch.autograd.grad``, and note that it was called."""
    _note("grad")
    found: tuple[Tensor, ...] = _grad(*args, **kwargs)
    return found


def backward(*args: Any, **kwargs: Any) -> None:
    """Call ``torch.autograd.backward``, and note that it was called."""
    _note("backward")
    _backward(*args, **kwargs)


def _note(name: str) -> None:
    calls = _calls.get()
    if calls is not None:
        calls.append(name)


def takes_derivative(run: Callable[[], object]) -> bool:
    """Return whether a call takes a derivative; the patches of the group ``derivatives`` must be in place.

    Args:
        run: The call; only what it does in this thread counts.
    """
    calls: list[str] = []
    token = _calls.set(calls)
    try:
        run()
    finally:
        _calls.reset(token)
    return bool(calls)
