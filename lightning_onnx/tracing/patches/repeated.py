"""Work that torch's exporters repeat at each export with the same result."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator

from lightning_onnx.tracing.patches.patch import Patch, replaced_attribute


@contextlib.contextmanager
def computed_once(patch: Patch) -> Iterator[None]:
    """Let a function without arguments compute its result only at the first call in the process."""
    original = getattr(patch.find_owner(), patch.name)
    with replaced_attribute(dataclasses.replace(patch, replacement=functools.partial(_result, original))):
        yield


@functools.cache
def _result(function: Callable[[], object]) -> object:
    return function()
