"""Kernels of torch's operators that a trace replaces, put back whenever it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch._ops import OpOverload
from torch._subclasses.fake_impls import _deregister_op_impl
from torch.export import exported_program

_override = exported_program._override_composite_implicit_decomp


@contextlib.contextmanager
def override_decompositions(decompositions: Mapping[OpOverload, Callable[..., Any]]) -> Iterator[None]:
    """Replace kernels as torch does, and put them back also if an interrupt comes before all are replaced.

    Args:
        decompositions: What to compute each operator with.
    """
    before = {op: dict(op.py_kernels) for op in decompositions}
    try:
        with _override(decompositions):
            yield
    finally:
        for op, kernels in before.items():
            if op.py_kernels != kernels:
                op.py_kernels.clear()
                op.py_kernels.update(kernels)
                op._dispatch_cache.clear()
                _deregister_op_impl(op)
