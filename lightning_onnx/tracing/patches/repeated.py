"""Caches work that torch's exporters repeat in each export, or many times in one, with the same result."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from onnx_ir import schemas
from torch._C import DispatchKey
from torch._ops import OperatorBase
from torch.onnx._internal.exporter._schemas import op_signature_from_function

from lightning_onnx.tracing.patches.patch import Patch, replaced_attribute

_py_impl = OperatorBase.py_impl
_REFUSED = {DispatchKey.Python}


@contextlib.contextmanager
def computed_once(patch: Patch) -> Iterator[None]:
    """Make a function without arguments compute its result only once in the process."""
    original = getattr(patch.find_owner(), patch.name)
    with replaced_attribute(dataclasses.replace(patch, replacement=functools.partial(_result, original))):
        yield


@functools.cache
def _result(function: Callable[[], object]) -> object:
    return function()


def signature_once(
    func: Callable[..., object], domain: str, name: str | None = None, overload: str = "", *, since_version: int = 1
) -> schemas.OpSignature:
    """Return the signature that torch has stored on a translation, or else compute it.

    Args:
        func: A function that translates an operator.
        domain: As for torch's function of this purpose, like all that follows.
        name: The operator's name.
        overload: Its overload.
        since_version: The first opset that has it.
    """
    stored = getattr(func, "_pt_onnx_signature", None)
    if isinstance(stored, schemas.OpSignature):
        asked = (domain, name, overload, since_version)
        if (stored.domain, stored.name, stored.overload, stored.since_version) == asked:
            return stored
    computed: schemas.OpSignature = op_signature_from_function(
        func, domain, name, overload, since_version=since_version
    )
    return computed


@contextlib.contextmanager
def called_once(patch: Patch) -> Iterator[None]:
    """Let a function without arguments do its work only once while the patch is in place."""
    once = functools.cache(getattr(patch.find_owner(), patch.name))
    with replaced_attribute(dataclasses.replace(patch, replacement=once)):
        yield


def py_impl(op: OperatorBase, k: Any) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Return what registers a kernel of an operator for a dispatch key, with the kernels that torch registers itself.

    Args:
        op: The operator.
        k: The key; all but dispatch keys are left to torch, and so are errors.
    """
    if type(k) is not DispatchKey or k in _REFUSED:
        return _py_impl(op, k)

    def register(kernel: Callable[..., object]) -> Callable[..., object]:
        if k in op.py_kernels:
            return _py_impl(op, k)(kernel)
        op.py_kernels[k] = kernel
        op._dispatch_cache.clear()
        return kernel

    return register
