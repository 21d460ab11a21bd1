"""Shapes of recurrent layers while torch traces, computed without unrolling the sequence."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from lightning_onnx.module.tracing_thread import is_tracing_thread
from lightning_onnx.tracing.patches.patch import Patch

Kernel = Callable[..., tuple[Tensor, ...]]

Kernels = dict[torch._C.DispatchKey, Callable[..., Any]]

Setting = Sequence[Tensor] | bool | int | float

OPERATORS: tuple[OpOverload, ...] = (
    torch.ops.aten.gru.input,
    torch.ops.aten.lstm.input,
    torch.ops.aten.rnn_relu.input,
    torch.ops.aten.rnn_tanh.input,
)

_KEYS = (torch._C.DispatchKey.CompositeImplicitAutograd, torch._C.DispatchKey.Autograd)
"""Where torch keeps its kernels in Python, which unroll a sequence."""


@contextlib.contextmanager
def by_shapes(patch: Patch) -> Iterator[None]:
    """Replace torch's kernels in Python; ``OpOverload`` is the owner, and only these operators are changed."""
    before: dict[OpOverload, Kernels] = {
        operator: {key: operator.py_kernels[key] for key in _KEYS if key in operator.py_kernels}
        for operator in OPERATORS
    }
    try:
        for operator, kernels in before.items():
            _set(operator, {key: functools.partial(_shapes_or, kernel) for key, kernel in kernels.items()})
        yield
    finally:
        for operator, kernels in before.items():
            _set(operator, kernels)


@contextlib.contextmanager
def rewritten_by_shapes(patch: Patch) -> Iterator[None]:
    """Replace the same kernels in torch's table of decompositions."""
    table: MutableMapping[OpOverload, Kernel] = getattr(patch.find_owner(), patch.name)
    before = {operator: table[operator] for operator in OPERATORS if operator in table}
    table.update({operator: functools.partial(_shapes_or, kernel) for operator, kernel in before.items()})
    try:
        yield
    finally:
        table.update(before)


def _set(operator: OpOverload, kernels: Kernels) -> None:
    operator.py_kernels.update(kernels)
    operator._dispatch_cache.clear()


def _shapes_or(
    original: Kernel, input: Tensor, hx: Tensor | Sequence[Tensor], *settings: Setting
) -> tuple[Tensor, ...]:
    """Return tensors of the right shapes if torch asks only for these; otherwise compute the layer.

    Args:
        original: torch's kernel.
        input: The sequences.
        hx: The first state, or the two first states of an LSTM.
        settings: The other arguments of the operator; the last two are ``bidirectional`` and ``batch_first``.
    """
    if not is_tracing_thread() or not isinstance(input, FakeTensor) or get_proxy_mode() is not None:
        return original(input, hx, *settings)
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    is_bidirectional, batch_first = settings[-2:]
    size = states[0].shape[-1] * (2 if is_bidirectional else 1)  # with a projection, that of the first state
    first, second = reversed(input.shape[:2]) if batch_first else input.shape[:2]
    found = input.new_empty((first, second, size))  # torch computes time first, and transposes
    return found.transpose(0, 1) if batch_first else found, *(state.new_empty(state.shape) for state in states)
