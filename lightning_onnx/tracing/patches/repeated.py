"""Work that torch's exporters repeat at each export with the same result."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from lightning_onnx.tracing.patches.patch import Patch


@contextlib.contextmanager
def computed_once(patch: Patch) -> Iterator[None]:
    """Let a function without arguments compute its result only at the first call in the process."""
    owner, name = patch.find_owner(), patch.name
    original, inherited = getattr(owner, name), name not in vars(owner)
    setattr(owner, name, functools.partial(_result, original))
    try:
        yield
    finally:
        if inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, original)


@functools.cache
def _result(function: Callable[[], object]) -> object:
    return function()
