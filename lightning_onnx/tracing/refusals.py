"""Remembers within a run which engines have refused a module, so that none of them is asked again in vain."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Hashable, Mapping
from typing import Any

import torch

from lightning_onnx.errors import CaptureNotApplicable, EngineError, chain
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.resizing import Axes
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.weights.digests import digests
from lightning_onnx.module.weights.state import structure_of
from lightning_onnx.tracing.base import Engine

log = logging.getLogger(__name__)

_TRANSIENT = (MemoryError, OSError)
"""Causes that say nothing about the module."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What an engine was asked for, without weights.

    Attributes:
        module: The structure of the module, and digests of what its method reads besides weights.
        inputs: The path, dtype and traced shape of each input.
        opset_version: The opset.
        options: Further keywords of ``torch.onnx.export``, as text.
    """

    module: Hashable
    inputs: tuple[tuple[Hashable, torch.dtype, torch.Size], ...]
    opset_version: int
    options: str

    @classmethod
    def of(cls, flat: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Asked:
        """Return what an engine is asked for. The arguments are those of ``Engine.trace``."""
        read = frozenset(digests(flat.module, flat.method).items())
        pairs = zip(request.sample.paths, request.tensors, strict=True)
        inputs = tuple((path, t.dtype, t.shape) for path, t in pairs)
        return cls((structure_of(flat.module), flat.method, read), inputs, opset_version, repr(sorted(options.items())))


class Refusals:
    """The refusals of one run.

    An engine that refuses a request refuses it with further dynamic dims, too: it has to assume less about sizes.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Engine, Asked], list[tuple[Axes, EngineError]]] = {}

    def of(self, engine: Engine, asked: Asked, axes: Axes) -> EngineError | None:
        """Return the earlier refusal of an engine; None if it was not asked, or did not refuse.

        Args:
            engine: The engine.
            asked: What it is asked for.
            axes: The dynamic dims of each input.
        """
        for refused, error in self._known.get((engine, asked), ()):
            if all(earlier.keys() <= now.keys() for earlier, now in zip(refused, axes, strict=True)):
                log.debug("engine %s refused this module before: %s", engine.name, error)
                return _anew(error)
        return None

    def add(self, engine: Engine, asked: Asked, axes: Axes, error: EngineError) -> None:
        """Remember a refusal, unless its cause may pass. The first arguments are those of ``of``.

        Args:
            engine: The engine.
            asked: What it was asked for.
            axes: The dynamic dims of each input.
            error: The refusal.
        """
        if not any(isinstance(cause, _TRANSIENT) for cause in chain(error)):
            self._known.setdefault((engine, asked), []).append((axes, _anew(error)))


def _anew(error: EngineError) -> EngineError:
    """Return an error with the same text and kind of cause, without the frames, which would keep modules alive."""
    cause = error.__cause__
    told = EngineError(str(error))
    if isinstance(cause, CaptureNotApplicable):
        told.__cause__ = CaptureNotApplicable(str(cause))
    elif cause is not None:
        told.__cause__ = RuntimeError(str(chain(error)[-1]))
    return told
