"""Remembers within a run which engines have refused a module, so that none of them is asked again in vain."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx.errors import CaptureNotApplicable, EngineError, chain
from lightning_onnx.module.arrays import Content, content_of
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.resizing import Axes
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.weights.digests import Digester, digests
from lightning_onnx.module.weights.state import named_tensors, structure_of
from lightning_onnx.tracing.base import Engine

log = logging.getLogger(__name__)

_TRANSIENT = (MemoryError, OSError, torch.OutOfMemoryError, torch.linalg.LinAlgError)  # type: ignore[attr-defined]
"""Causes that say nothing about the module, or only about its weights, such as a matrix that has no inverse."""

_OUT_OF_MEMORY = ("DefaultCPUAllocator", "std::bad_alloc")
"""Texts of a plain ``RuntimeError`` that torch raises where there is no memory."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What an engine was asked for.

    A capture with symbolic values has the same refusal for all weights and inputs. One that follows values refuses for
    the branch that they take, so for such an engine the values belong to what it was asked for.

    Attributes:
        module: The structure of the module, and digests of what its method reads besides weights.
        constants: A digest of the arguments that are not inputs, such as flags and numbers.
        inputs: The path, dtype and traced shape of each input.
        values: What weights and inputs hold; empty for an engine that does not follow values.
        opset_version: The opset.
        options: Further keywords of ``torch.onnx.export``, as text.
    """

    module: Hashable
    constants: str
    inputs: tuple[tuple[Hashable, torch.dtype, torch.Size], ...]
    values: tuple[Content, ...]
    opset_version: int
    options: str

    @classmethod
    def of(
        cls, engine: Engine, flat: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]
    ) -> Asked | None:
        """Return what an engine is asked for; None if it cannot be compared, because values cannot be read.

        Args:
            engine: The engine. The further arguments are those of its ``trace``.
            flat: See there.
            request: See there.
            opset_version: See there.
            options: See there.
        """
        try:
            values = _values(flat.module, request.tensors) if engine.follows_values else ()
        except RuntimeError:
            return None
        constants = Digester(flat.module)(request.sample.structure.skeleton)
        read = frozenset(digests(flat.module, flat.method).items())
        pairs = zip(request.sample.paths, request.tensors, strict=True)
        inputs = tuple((path, t.dtype, t.shape) for path, t in pairs)
        module = (structure_of(flat.module), flat.method, read)
        return cls(module, constants, inputs, values, opset_version, repr(sorted(options.items())))


def _values(module: nn.Module, tensors: tuple[Tensor, ...]) -> tuple[Content, ...]:
    return tuple(content_of(tensor) for tensor in (*(weight for _, weight in named_tensors(module)), *tensors))


class Refusals:
    """The refusals of one run.

    An engine that refuses a request refuses it with further dynamic dims, too: it has to assume less about sizes.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Engine, Asked], list[tuple[Axes, EngineError]]] = {}
        self._told_without_values: set[tuple[Asked, str]] = set()

    def of(self, engine: Engine, asked: Asked | None, axes: Axes) -> EngineError | None:
        """Return the earlier refusal of an engine; None if it was not asked, or did not refuse.

        Args:
            engine: The engine.
            asked: What it is asked for; nothing is known of None.
            axes: The dynamic dims of each input.
        """
        if asked is None:
            return None
        of_all_values = self._known.get((engine, dataclasses.replace(asked, values=())), [])
        for refused, error in [*self._known.get((engine, asked), []), *of_all_values]:
            if all(earlier.keys() <= now.keys() for earlier, now in zip(refused, axes, strict=True)):
                log.debug("engine %s refused this module before: %s", engine.name, error)
                return _anew(error)
        return None

    def add(self, engine: Engine, asked: Asked | None, axes: Axes, error: EngineError) -> None:
        """Remember a refusal, unless its cause may pass. The first arguments are those of ``of``.

        An engine that follows values, and stops with the words of one that does not, at the same line, gets there with
        all values.

        Args:
            engine: The engine.
            asked: What it was asked for; with None, nothing is remembered.
            axes: The dynamic dims of each input.
            error: The refusal.
        """
        causes = chain(error)
        if asked is None or any(map(_may_pass, causes)):
            return
        told = (dataclasses.replace(asked, values=()), str(causes[-1]))
        if not engine.follows_values:
            self._told_without_values.add(told)
        elif told in self._told_without_values:
            asked = told[0]
        self._known.setdefault((engine, asked), []).append((axes, _anew(error)))


def _may_pass(cause: BaseException) -> bool:
    return isinstance(cause, _TRANSIENT) or any(text in str(cause) for text in _OUT_OF_MEMORY)


def _anew(error: EngineError) -> EngineError:
    """Return an error with the same text and kind of cause, without the frames, which would keep modules alive."""
    cause = error.__cause__
    told = EngineError(str(error))
    if isinstance(cause, CaptureNotApplicable):
        told.__cause__ = CaptureNotApplicable(str(cause))
    elif cause is not None:
        told.__cause__ = RuntimeError(str(chain(error)[-1]))
    return told
