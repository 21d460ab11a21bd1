"""What a patch is, and the one place where patches are put in and taken out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal

from lightning_onnx.module.tracing_thread import ValueInTracingThread, in_tracing_thread, tracing_thread

Group = Literal["trace", "quiet", "torchscript", "traced_values", "symbolic_int", "derivatives"]
"""Patches that are in place together: ``trace`` and ``quiet`` in every trace, others if a capture or engine asks."""


@contextlib.contextmanager
def put_in(*patches: Patch) -> Iterator[None]:
    """Put patches in, in order, and take them out again whatever happens; one thread at a time.

    The others do not see them: functions ask which thread calls.
    """
    with tracing_thread(), contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch.replace(patch))
        yield


@contextlib.contextmanager
def replaced_attribute(patch: Patch) -> Iterator[None]:
    """Set a function; one that the owner inherits is deleted afterwards."""
    owner = patch.find_owner()
    if owner is None:
        yield
        return
    assert callable(patch.replacement)
    original = getattr(owner, patch.name)
    with _set(owner, patch.name, in_tracing_thread(original, patch.replacement)):
        yield


@contextlib.contextmanager
def replaced_class_attribute(patch: Patch) -> Iterator[None]:
    """Set an attribute of a class that is read through the class or its instances."""
    owner = patch.find_owner()
    elsewhere = getattr(owner, patch.name)
    with _set(owner, patch.name, ValueInTracingThread(patch.replacement, elsewhere)):
        yield


@contextlib.contextmanager
def replaced_setting(patch: Patch) -> Iterator[None]:
    """Set a setting of torch, of which each thread has its own value."""
    owner = patch.find_owner()
    original = getattr(owner, patch.name)
    setattr(owner, patch.name, patch.replacement)
    try:
        yield
    finally:
        setattr(owner, patch.name, original)


@contextlib.contextmanager
def _set(owner: Any, name: str, value: object) -> Iterator[None]:
    """Set an attribute for the block; if another thread has set it meanwhile, that stays."""
    own = vars(owner)
    is_inherited, original = name not in own, own.get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if vars(owner).get(name) is value:
            if is_inherited:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def switched(
    get: Callable[[], bool], set_to: Callable[[bool], object]
) -> Callable[[Patch], AbstractContextManager[None]]:
    """Return how to replace a flag that has functions of its own to read and to set it.

    Args:
        get: Returns the flag.
        set_to: Sets it.
    """

    @contextlib.contextmanager
    def replace(patch: Patch) -> Iterator[None]:
        before = get()
        set_to(bool(patch.replacement))
        try:
            yield
        finally:
            set_to(before)

    return replace


@dataclasses.dataclass(frozen=True)
class Patch:
    """One replacement that the tracing thread sees while it is in place.

    Attributes:
        owner: What has the attribute: ``module`` or ``module:class``.
        name: The attribute, or the setting if ``replace`` sets none.
        replacement: Its value while the patch is in place.
        why: What goes wrong without it, in one sentence.
        seen: The version of torch, torchvision or Python in which that was observed.
        case: The case in ``tests/tracing/patches/cases.py`` that holds with the patch and fails without it; None for a
            precaution that no case was found to need.
        group: The patches that it is in place with.
        optional: Whether the owner belongs to a package that may be missing; nothing is replaced until it is imported.
        replace: How the value is replaced.
    """

    owner: str
    name: str
    replacement: object
    why: str
    seen: str
    case: str | None
    group: Group = "trace"
    optional: bool = False
    replace: Callable[[Patch], AbstractContextManager[None]] = replaced_attribute

    def find_owner(self) -> object | None:
        """Return what has the attribute; None if its package is optional and not in use.

        Raises:
            ImportError: If the module does not exist.
            AttributeError: If the class does not exist.
        """
        module, _, path = self.owner.partition(":")
        if self.optional and module not in sys.modules:
            return None
        return functools.reduce(getattr, path.split(".") if path else [], importlib.import_module(module))
