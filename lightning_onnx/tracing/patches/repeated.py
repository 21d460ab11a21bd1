"""Caches work that torch's exporters repeat in each export, or many times in one, with the same result."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator

from onnx_ir import schemas
from torch.onnx._internal.exporter._schemas import op_signature_from_function

from lightning_onnx.tracing.patches.patch import Patch, replaced_attribute


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
    """Let a function without arguments and result do its work only once while the patch is in place."""
    once = functools.cache(getattr(patch.find_owner(), patch.name))
    with replaced_attribute(dataclasses.replace(patch, replacement=once)):
        yield


class _AnyCallable(type):
    """Takes any subscript and any callable, as ``collections.abc.Callable`` does, and makes no new class of it."""

    def __getitem__(cls, item: object) -> type:
        return cls

    def __instancecheck__(cls, instance: object) -> bool:
        return callable(instance)


class AnyCallable(metaclass=_AnyCallable):
    """The annotation of any callable."""
